"""What KV is made by: a model's weights, and how its bytes lie. Pages of another identity or layout
are never read, also after a restart."""

import hashlib
from pathlib import Path
from typing import Protocol

_SUFFIXES = (".gguf", ".safetensors", ".json")
_SAMPLES = 64
_SAMPLE_BYTES = 4096


def identity_of(path: Path) -> str:
    """Of a model's file or folder: sizes, times of change and evenly spaced samples of what is in
    it. Milliseconds instead of a full read; a copy of a model may count as another one."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        if file.suffix in _SUFFIXES or file == path:
            _add_samples(digest, file)
    return digest.hexdigest()


def _add_samples(digest: "hashlib.blake2b", file: Path) -> None:
    stat = file.stat()
    size = stat.st_size
    digest.update(f"{size} {stat.st_mtime_ns}".encode())
    step = max(_SAMPLE_BYTES, size // _SAMPLES)
    with file.open("rb") as opened:
        for start in [*range(0, size, step), max(0, size - _SAMPLE_BYTES)]:
            opened.seek(start)
            digest.update(opened.read(_SAMPLE_BYTES))


class HasLayout(Protocol):
    """A model."""

    @property
    def layout(self) -> str: ...
