"""What a server's log says of why it did not start, and what to do about it."""

import re
from collections.abc import Sequence
from pathlib import Path

from teola.launching.recipes import Recipe

SHOWN_LINES = 15
_TAIL_BYTES = 64 << 10
_PORT_TAKEN = re.compile(r"address already in use|Errno (98|48)\b", re.IGNORECASE)
_MISSING = re.compile(r"No module named '([\w.]+)'")
_KILLED = (-9, 137)

_MEMORY = """\
the model or its KV cache does not fit in memory: after --, give the server less to do \
(vLLM: --max-model-len 4096 --gpu-memory-utilization 0.8; SGLang: --context-length 4096 \
--mem-fraction-static 0.8), or split the model over GPUs (--tensor-parallel-size N)"""
_MODEL = """\
the server cannot get the model: check the name, HF_TOKEN for a gated model, and the network; \
or give a folder"""
_ARGUMENTS = """\
this version of the server does not know one of its arguments: see those after --, and whether \
the server is as new as teola needs (vllm>=0.32, sglang>=0.5.23)"""
_TORCHVISION = """\
torchvision was built for another torch: remove torchvision, torchaudio and torchcodec from the \
server's environment (`teola engine install vllm --cpu` makes one that works)"""
_DEVICE = """\
the server sees no GPU here; on a CPU, `teola engine install vllm --cpu` makes an environment \
that runs"""

# What the log says -> what to do; the first that fits is told.
_HINTS = {
    r"out of memory|OutOfMemory|Cannot allocate memory|Not enough memory"
    r"|No available memory for the cache|less than desired GPU memory|larger than the available": (
        _MEMORY
    ),
    r"is not a valid model identifier|Repository Not Found|gated repo|401 Client Error"
    r"|We couldn't connect to|LocalEntryNotFound": _MODEL,
    r"unrecognized arguments|invalid choice|no such option": _ARGUMENTS,
    r"operator torchvision::nms does not exist": _TORCHVISION,
    r"Found no NVIDIA driver|Failed to infer device type|No accelerator": _DEVICE,
}


def tail(log: Path, num_lines: int) -> list[str]:
    """The last lines of a log that may still be written to."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    # A bar that redraws itself is one line of many returns.
    lines = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return [line for line in lines if line][-num_lines:]


def is_port_taken(lines: Sequence[str]) -> bool:
    return any(_PORT_TAKEN.search(line) for line in lines)


def hint(recipe: Recipe, lines: Sequence[str], code: int | None) -> str:
    """What to do about a failed start; empty where the log says nothing that is known."""
    text = "\n".join(lines)
    if is_port_taken(lines):
        return "another program has the port: --port 0 takes a free one"
    missing = _MISSING.search(text)
    if missing is not None:
        package = missing[1].partition(".")[0]
        return f"the package {package!r} is missing there: {install_line(recipe)}"
    for pattern, advice in _HINTS.items():
        if re.search(pattern, text, re.IGNORECASE):
            return advice
    if code in _KILLED:
        return "the system killed it, most likely for want of memory"
    return ""


def install_line(recipe: Recipe) -> str:
    """How to get the server; its own environment is the surest, since each pins its torch."""
    line = f'run `pip install "teola[{recipe.name}]"` or `teola engine install {recipe.name}`'
    return line + (" (--cpu without a GPU)" if recipe.name == "vllm" else "")
