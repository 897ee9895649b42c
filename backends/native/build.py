"""The library of an instruction set: out of the wheel, out of the cache, or compiled now."""

import contextlib
import ctypes
import functools
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from backends.errors import ConfigError
from backends.models.cache import cache_folder
from backends.native.compiler import (
    CannotCompile,
    check_flags,
    compile_library,
    find_compiler,
    recipe_digest,
)
from backends.native.instruction_sets import InstructionSet, set_here, wanted_isas

_ANOTHER_CPU = "take another CPU, a GPU, or an engine on another machine"
_WHEEL = "a wheel that carries the kernels (make wheel)"
_log = logging.getLogger("teola.native")
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Built:
    """Where the library is, or why there is none."""

    path: Path | None
    reason: str = ""
    isa: str = ""  # the instruction set it is for
    origin: str = ""  # wheel, cache or compiled
    remedy: str = ""  # what to do about the reason
    library: ctypes.CDLL | None = field(default=None, compare=False, repr=False)


def build(isa: str | None = None) -> Built:
    """The library of one instruction set; of None, that of `TEOLA_ISA` or the best that this CPU
    runs and the compiler knows. Seconds the first time on a machine, then milliseconds.
    `TEOLA_NATIVE=0` says no. Raises ConfigError for a set that is unknown or not of this CPU."""
    if os.environ.get("TEOLA_NATIVE") == "0":
        return Built(None, "TEOLA_NATIVE=0 turns the native kernels off")
    wanted = wanted_isas() if isa is None else (isa,)
    if not wanted:
        return Built(None, "this CPU has neither AVX2 with FMA nor NEON", remedy=_ANOTHER_CPU)
    with _one_at_a_time:
        return _first_built([set_here(name) for name in wanted])


def build_in_background() -> threading.Thread:
    """So that a compiler runs while models are read and packages imported; `build` waits for it."""

    def work() -> None:
        with contextlib.suppress(ConfigError):  # told by who needs the library
            build()

    thread = threading.Thread(target=work, name="teola-build")
    thread.start()
    return thread


def _first_built(sets: list[InstructionSet]) -> Built:
    failed: list[Built] = []
    for isa in sets:
        built = _built(isa)
        if built.path is not None:
            if failed:
                _log.warning("%s; %s runs instead", failed[0].reason, isa.name)
            return built
        failed.append(built)
    return failed[0]


@functools.cache
def _built(isa: InstructionSet) -> Built:
    from backends.native.private_folder import Distrusted  # not on Windows, where no kernels run

    if (shipped := _shipped(isa)) is not None:
        return shipped
    compiler = find_compiler()
    if compiler is None:
        return _without("there is no C++ compiler", f"install g++ or {_WHEEL}", isa)
    reason = ""
    for folder in _folders():
        try:
            return _kept(compiler, isa, folder)
        except CannotCompile as error:
            return _without(str(error), f"set CXX to another compiler or install {_WHEEL}", isa)
        except (Distrusted, OSError) as error:
            reason = f"cannot keep the CPU kernels in {folder}: {error}"
            _log.warning("%s", reason)
    return _without(reason, "set TEOLA_CACHE to a folder that programs may run from", isa)


def _shipped(isa: InstructionSet) -> Built | None:
    from backends.native.shipped import find_shipped

    try:
        found = find_shipped(isa)
    except OSError as error:
        _log.warning("cannot load the kernels of teola's wheel: %s", error)
        return None
    if found is None:
        return None
    return Built(found[0], isa=isa.name, origin="wheel", library=found[1])


def _without(reason: str, remedy: str, isa: InstructionSet) -> Built:
    return Built(None, reason, isa.name, remedy=remedy)


def _folders() -> Iterator[Path]:
    yield cache_folder() / "kernels"
    yield Path(tempfile.gettempdir()) / f"teola-kernels-{os.getuid()}"
    yield Path(tempfile.mkdtemp(prefix="teola-"))


def _kept(compiler: str, isa: InstructionSet, path: Path) -> Built:
    """Raises CannotCompile, Distrusted, and OSError where nothing can be stored or run."""
    from backends.native.private_folder import PrivateFolder

    stem = f"{isa.name}-{recipe_digest(compiler, isa)[:20]}"
    with PrivateFolder(path) as folder, folder.locked(stem):
        if found := folder.find(stem):
            return Built(found[0], isa=isa.name, origin="cache", library=found[1])
        folder.store(stem, _compiled(compiler, isa))
        found = folder.find(stem)
        if found is None:
            raise OSError("what was written reads otherwise")
        return Built(found[0], isa=isa.name, origin="compiled", library=found[1])


def _compiled(compiler: str, isa: InstructionSet) -> bytes:
    check_flags(compiler, isa)
    told = f"teola: compiling the CPU kernels ({isa.name}), once on this machine"
    print(told, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="teola-") as folder:
        made = Path(folder) / "kernels.so"
        compile_library(compiler, isa, made)
        return made.read_bytes()
