"""Runs the machine's C++ compiler on `kernels/`: its units side by side, then the link."""

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from backends.cpu_count import usable_cores
from backends.native.instruction_sets import InstructionSet

FOLDER = Path(__file__).with_name("kernels")
_FLAGS = ("-O2", "-std=c++20", "-fPIC", "-fvisibility=hidden", "-w")
_TIMEOUT_S = 300.0


class CannotCompile(Exception):
    """Says which compiler failed, on what, and its first error."""


def find_compiler() -> str | None:
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and (found := shutil.which(name)):
            return found
    return None


def check_flags(compiler: str, isa: InstructionSet) -> None:
    """Milliseconds. Raises CannotCompile when the compiler does not work or know the set."""
    _run(isa.name, [compiler, *_FLAGS, *isa.flags, "-x", "c++", "-E", "-o", os.devnull, os.devnull])


def compile_library(
    compiler: str, isa: InstructionSet, out: Path, more_flags: Sequence[str] = ()
) -> None:
    """Seconds of all cores. Raises CannotCompile, and OSError where nothing can be written."""
    flags = (*_FLAGS, *isa.flags, *more_flags)
    with (
        tempfile.TemporaryDirectory(prefix="teola-") as folder,
        ThreadPoolExecutor(usable_cores()) as threads,
    ):
        units = sorted(FOLDER.glob("*.cpp"))
        objects = [str(Path(folder) / f"{unit.stem}.o") for unit in units]
        commands = [
            [compiler, *flags, "-c", "-o", made, str(unit)]
            for unit, made in zip(units, objects, strict=True)
        ]
        list(threads.map(functools.partial(_run, isa.name), commands))
        _run(isa.name, [compiler, *flags, "-shared", "-o", str(out), *objects, "-lpthread"])


@functools.cache
def source_digest() -> str:
    """Of all files that the libraries are made of."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.iterdir()):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def recipe_digest(compiler: str, isa: InstructionSet) -> str:
    """Of everything that decides what a compiled library is."""
    parts = (source_digest(), *_FLAGS, *isa.flags, _version(compiler))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _run(isa: str, command: list[str]) -> None:
    failed = f"{command[0]} could not compile the CPU kernels ({isa})"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompile(f"{failed}: {error}") from error
    if done.returncode:
        raise CannotCompile(f"{failed}: {_first_error(done.stderr)}")


def _first_error(stderr: str) -> str:
    lines = stderr.strip().splitlines()
    return next((line for line in lines if "error" in line), lines[-1] if lines else "")


@functools.cache
def _version(compiler: str) -> str:
    try:
        command = [compiler, "--version"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
