"""What a local engine computes on, by the name that engines which share it have in common."""

from pathlib import Path

_FIRST_GPU = Path("/dev/nvidia0")


def device_name(wanted: str | None) -> str:
    """`cpu`, `cuda:0` ... for the option of an engine, without loading torch."""
    if wanted is None or wanted == "auto":
        return "cuda:0" if _FIRST_GPU.exists() else "cpu"
    return "cuda:0" if wanted == "cuda" else wanted
