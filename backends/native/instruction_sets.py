"""The instruction sets the kernels are compiled for, and which of them this CPU runs.

One source, one library a set: the flags decide. Nothing is compiled for "the CPU at hand", so a
library runs wherever its set is there.
"""

import functools
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from backends.errors import ConfigError

_AVX2 = ("-mavx2", "-mfma", "-mf16c")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
_NEEDS_AVX2 = frozenset(("avx2", "fma", "f16c"))
_NEEDS_AVX512 = _NEEDS_AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}


@dataclass(frozen=True, slots=True)
class InstructionSet:
    """One way to compile the kernels."""

    name: str
    machine: str  # as `platform.machine()` says it
    flags: tuple[str, ...]  # of g++ and clang++
    needs: frozenset[str]  # of the CPU, in the words of /proc/cpuinfo
    is_stand_in: bool = False  # the same arithmetic in another encoding, for tests


# Best first. The integer products of `avxvnni` exist in two encodings: CPUs that have only the
# AVX-512 one run the same 256-bit code in it.
SETS = (
    InstructionSet(
        "avx512bf16",
        "x86_64",
        (*_AVX512, "-mavx512vnni", "-mavx512bf16"),
        _NEEDS_AVX512 | {"avx512_vnni", "avx512_bf16"},
    ),
    InstructionSet(
        "avx512vnni", "x86_64", (*_AVX512, "-mavx512vnni"), _NEEDS_AVX512 | {"avx512_vnni"}
    ),
    InstructionSet("avx512", "x86_64", _AVX512, _NEEDS_AVX512),
    InstructionSet("avxvnni", "x86_64", (*_AVX2, "-mavxvnni"), _NEEDS_AVX2 | {"avx_vnni"}),
    InstructionSet(
        "avxvnni",
        "x86_64",
        (*_AVX2, "-mavx512vl", "-mavx512vnni"),
        _NEEDS_AVX2 | {"avx512f", "avx512vl", "avx512_vnni"},
        is_stand_in=True,
    ),
    InstructionSet("avx2", "x86_64", _AVX2, _NEEDS_AVX2),
    InstructionSet(
        "neonbf16",
        "aarch64",
        ("-march=armv8.2-a+dotprod+bf16+i8mm",),
        frozenset(("asimd", "asimddp", "bf16", "i8mm")),
    ),
    InstructionSet(
        "neondot", "aarch64", ("-march=armv8.2-a+dotprod",), frozenset(("asimd", "asimddp"))
    ),
    InstructionSet("neon", "aarch64", ("-march=armv8-a",), frozenset(("asimd",))),
)
NAMES = tuple(dict.fromkeys(one.name for one in SETS))


def isas_here() -> tuple[str, ...]:
    """The names of the sets this CPU runs, best first."""
    return tuple(_here())


def set_here(name: str) -> InstructionSet:
    """Raises ConfigError for a name that is none, and for a set this CPU lacks."""
    if name not in NAMES:
        raise ConfigError(f"instruction set {name!r} is unknown; there are {', '.join(NAMES)}")
    if found := _here().get(name):
        return found
    lacks = "; ".join(
        f"{one.machine} with {', '.join(sorted(one.needs - cpu_features()))}"
        for one in SETS
        if one.name == name
    )
    raise ConfigError(f"this CPU does not run {name}, which needs {lacks}; it runs {_told()}")


def wanted_isas() -> tuple[str, ...]:
    """The one that `TEOLA_ISA` names, else all of this CPU, best first. Raises ConfigError."""
    if name := os.environ.get("TEOLA_ISA"):
        try:
            return (set_here(name).name,)
        except ConfigError as error:
            raise ConfigError(f"TEOLA_ISA={name}: {error}") from None
    return isas_here()


@functools.cache
def cpu_features() -> frozenset[str]:
    """As Linux names them; none on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    found = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(found.partition(":")[2].split())


def _here() -> dict[str, InstructionSet]:
    machine, features = platform.machine(), cpu_features()
    found: dict[str, InstructionSet] = {}
    for one in SETS:
        if one.machine == machine and one.needs <= features:
            found.setdefault(one.name, one)
    return found


def _told() -> str:
    return ", ".join(isas_here()) or "none of them"
