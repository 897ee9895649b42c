"""Compiles `kernels/` on this machine, once for each instruction set that is used: the library lies
in the cache under a name made of the set, the source, the flags and the compiler."""

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from backends.models.cache import cache_folder
from backends.native.instruction_sets import InstructionSet, set_here, wanted_isas

FOLDER = Path(__file__).with_name("kernels")
SOURCE = FOLDER / "api.cpp"
_FLAGS = ("-O3", "-std=c++20", "-fPIC", "-shared", "-w")
_TIMEOUT_S = 300.0
_log = logging.getLogger("teola.native")


@dataclass(frozen=True, slots=True)
class Built:
    """Where the library is, or why there is none."""

    path: Path | None
    reason: str = ""
    isa: str = ""  # the instruction set it is for


def build(isa: str | None = None) -> Built:
    """The library of one instruction set; of None, that of `TEOLA_ISA` or the best that this CPU
    runs and the compiler knows. Seconds the first time on a machine, then milliseconds.
    `TEOLA_NATIVE=0` says no. Raises ConfigError for a set that is unknown or not of this CPU."""
    if os.environ.get("TEOLA_NATIVE") == "0":
        return Built(None, "TEOLA_NATIVE=0 turns the native kernels off")
    if isa is not None:
        return _built(set_here(isa))
    wanted = wanted_isas()
    if not wanted:
        return Built(None, "this CPU has neither AVX2 with FMA nor NEON")
    tried = (_built(set_here(name)) for name in wanted)
    failed: list[Built] = []
    for built in tried:
        if built.path is not None:
            return built
        failed.append(built)
    return failed[0]


@functools.cache
def _built(isa: InstructionSet) -> Built:
    compiler = _compiler()
    if compiler is None:
        return Built(None, "no C++ compiler: install g++ or clang++, or set CXX", isa.name)
    return _compiled(compiler, isa)


def _compiled(compiler: str, isa: InstructionSet) -> Built:
    key = hashlib.sha256()
    sources = [path.read_bytes() for path in sorted(FOLDER.iterdir())]
    for part in (*sources, " ".join((*_FLAGS, *isa.flags)).encode(), _version(compiler)):
        key.update(part)
    name = f"{isa.name}-{key.hexdigest()[:20]}.so"
    try:
        kept = cache_folder() / "native"
        kept.mkdir(parents=True, exist_ok=True)
        return _kept(compiler, isa, kept / name)
    except OSError as error:  # a cache that cannot be written or run from
        _log.warning("cannot keep the CPU kernels in the cache: %s", error)
    try:
        return _kept(compiler, isa, Path(tempfile.mkdtemp(prefix="teola-")) / name)
    except OSError as error:
        return _failed(f"there is no folder to compile the CPU kernels in: {error}", isa)


def _kept(compiler: str, isa: InstructionSet, path: Path) -> Built:
    """The library at `path`, compiled unless a whole one lies there. Raises OSError."""
    if path.exists() and _is_whole(path):
        ctypes.CDLL(str(path))
        return Built(path, isa=isa.name)
    _log.info("compiling the CPU kernels (%s), once on this machine", isa.name)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        command = [compiler, *_FLAGS, *isa.flags, "-o", str(made), str(SOURCE), "-lpthread"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            return _failed(f"{compiler} could not compile the CPU kernels: {error}", isa)
        if done.returncode:
            return _failed(
                f"{compiler} could not compile the CPU kernels ({isa.name}): {done.stderr[-500:]}",
                isa,
            )
        ctypes.CDLL(str(made))  # OSError where the folder lets nothing run
        _size_note(path).write_text(str(made.stat().st_size), encoding="utf-8")
        made.replace(path)
    return Built(path, isa=isa.name)


def _is_whole(path: Path) -> bool:
    """A cut library would kill the process that loads it."""
    try:
        return _size_note(path).read_text(encoding="utf-8") == str(path.stat().st_size)
    except OSError:
        return False


def _size_note(path: Path) -> Path:
    return path.with_suffix(".size")


def _first_error(stderr: str) -> str:
    lines = stderr.strip().splitlines()
    return next((line for line in lines if "error" in line), lines[-1] if lines else "")


def _failed(reason: str, isa: InstructionSet) -> Built:
    _log.warning("%s", reason)
    return Built(None, reason, isa.name)


def _compiler() -> str | None:
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and (found := shutil.which(name)):
            return found
    return None


def _version(compiler: str) -> bytes:
    try:
        return subprocess.run([compiler, "--version"], capture_output=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return b""
