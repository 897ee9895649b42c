"""Compiles `kernels/` for this machine, once: the library lies in the cache under a name made
of the source, the compiler and the CPU, so that a copied cache never runs the wrong code."""

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from backends.models.cache import cache_folder

FOLDER = Path(__file__).with_name("kernels")
SOURCE = FOLDER / "api.cpp"
NEEDED = frozenset(("avx512f", "avx512bw", "avx512dq", "avx512vl", "f16c", "fma"))
_FLAGS = ("-O3", "-march=native", "-std=c++20", "-fPIC", "-shared", "-w")
_TIMEOUT_S = 300.0
_log = logging.getLogger("teola.native")


@dataclass(frozen=True, slots=True)
class Built:
    """Where the library is, or why there is none."""

    path: Path | None
    reason: str = ""


@functools.cache
def build() -> Built:
    """Seconds the first time on a machine, then milliseconds. `TEOLA_NATIVE=0` says no."""
    if os.environ.get("TEOLA_NATIVE") == "0":
        return Built(None, "TEOLA_NATIVE=0 turns the native kernels off")
    cpu = _cpu_flags()
    if missing := sorted(NEEDED - cpu):
        return Built(None, f"this CPU lacks {', '.join(missing)}")
    compiler = _compiler()
    if compiler is None:
        return Built(None, "no C++ compiler: install g++ or clang++, or set CXX")
    return _compiled(compiler, cpu)


def _compiled(compiler: str, cpu: frozenset[str]) -> Built:
    key = hashlib.sha256()
    sources = [path.read_bytes() for path in sorted(FOLDER.iterdir())]
    for part in (*sources, " ".join(_FLAGS).encode(), _version(compiler)):
        key.update(part)
    key.update(" ".join(sorted(cpu)).encode())
    name = f"kernels-{key.hexdigest()[:20]}.so"
    try:
        kept = cache_folder() / "native"
        kept.mkdir(parents=True, exist_ok=True)
        return _kept(compiler, kept / name)
    except OSError as error:  # a cache that cannot be written or run from
        _log.warning("cannot keep the CPU kernels in the cache: %s", error)
    try:
        return _kept(compiler, Path(tempfile.mkdtemp(prefix="teola-")) / name)
    except OSError as error:
        return _failed(f"there is no folder to compile the CPU kernels in: {error}")


def _kept(compiler: str, path: Path) -> Built:
    """The library at `path`, compiled unless a whole one lies there. Raises OSError."""
    if path.exists() and _is_whole(path):
        ctypes.CDLL(str(path))
        return Built(path)
    _log.info("compiling the CPU kernels, once on this machine")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        command = [compiler, *_FLAGS, "-o", str(made), str(SOURCE), "-lpthread"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            return _failed(f"{compiler} could not compile the CPU kernels: {error}")
        if done.returncode:
            return _failed(f"{compiler} could not compile the CPU kernels: {done.stderr[-500:]}")
        ctypes.CDLL(str(made))  # OSError where the folder lets nothing run
        _size_note(path).write_text(str(made.stat().st_size), encoding="utf-8")
        made.replace(path)
    return Built(path)


def _is_whole(path: Path) -> bool:
    """A cut library would kill the process that loads it."""
    try:
        return _size_note(path).read_text(encoding="utf-8") == str(path.stat().st_size)
    except OSError:
        return False


def _size_note(path: Path) -> Path:
    return path.with_suffix(".size")


def _failed(reason: str) -> Built:
    _log.warning("%s; the torch model runs instead, slower", reason)
    return Built(None, reason)


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


def _cpu_flags() -> frozenset[str]:
    if not sys.platform.startswith("linux"):
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    found = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(found.partition(":")[2].split())
