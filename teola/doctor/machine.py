"""The processor, the memory and the graphics card, as far as the system tells."""

import importlib.util
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from backends.cpu_count import usable_cores
from backends.native.instruction_sets import isas_here

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Machine:
    cpu: str
    num_cores: int
    usable_cores: int  # of this process's affinity and its container's quota
    isas: tuple[str, ...]  # that kernels are written for, best first
    memory_bytes: int | None
    available_bytes: int | None


@dataclass(frozen=True, slots=True)
class Torch:
    version: str | None  # None: not installed
    gpus: tuple[str, ...]


def read_machine() -> Machine:
    return Machine(
        cpu=_field("cpuinfo", "model name") or platform.processor() or platform.machine(),
        num_cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        isas=isas_here(),
        memory_bytes=_memory("MemTotal"),
        available_bytes=_memory("MemAvailable"),
    )


def read_torch() -> Torch:
    """Imports torch where it is installed: a second or two."""
    if importlib.util.find_spec("torch") is None:
        return Torch(None, ())
    import torch

    gpus = (torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return Torch(torch.__version__, tuple(gpus))


def _memory(name: str) -> int | None:
    found = _field("meminfo", name)
    return int(found.split()[0]) * 1024 if found else None


def _field(file: str, name: str) -> str | None:
    """The first of its name in a file of `/proc`; None on other systems."""
    try:
        lines = (_PROC / file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
