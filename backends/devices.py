"""What a local engine computes on, by the name that engines which share it have in common."""

import sys
from pathlib import Path

_FIRST_GPU = Path("/dev/nvidia0")
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # CUDA, ROCm, either inside WSL


def device_name(wanted: str | None) -> str:
    """`cpu`, `cuda:0` ... for the option of an engine, without loading torch."""
    if wanted is None or wanted == "auto":
        return "cuda:0" if _FIRST_GPU.exists() else "cpu"
    return "cuda:0" if wanted == "cuda" else wanted


def may_have_gpu() -> bool:
    """Whether it is worth asking torch for one, which takes a second to import."""
    is_known = sys.platform == "linux"
    return not is_known or any(Path(driver).exists() for driver in _GPU_DRIVERS)


def gpu_or_cpu() -> str:
    """`cuda` where torch sees such a device."""
    if not may_have_gpu():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def is_cpu(device: object) -> bool:
    """Of a name (`cpu`, `cuda:0`) or a torch.device."""
    return str(device).partition(":")[0] == "cpu"
