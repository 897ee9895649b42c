"""A page in a file: header, checksum, bytes. Written under another name first, then renamed."""

import hashlib
import os
from pathlib import Path

_MAGIC = b"teolaKV1"
_CHECKSUM_BYTES = 16
HEADER_BYTES = len(_MAGIC) + _CHECKSUM_BYTES


class BadPage(Exception):
    """A file that is not the page it is named for."""


def write_page(path: Path, key: bytes, content: bytes) -> None:
    """Whole or not at all. No fsync: a file that a crash tore fails its checksum."""
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(opened, "wb") as file:
        file.write(_MAGIC + _checksum(key, content))
        file.write(content)
    unfinished.replace(path)


def read_page(path: Path, key: bytes, num_bytes: int) -> memoryview:
    """Raises BadPage, and OSError where the file cannot be read."""
    found = memoryview(path.read_bytes())
    content = found[HEADER_BYTES:]
    if found[: len(_MAGIC)] != _MAGIC or len(content) != num_bytes:
        raise BadPage("it is no page of this engine")
    if found[len(_MAGIC) : HEADER_BYTES] != _checksum(key, content):
        raise BadPage("its checksum is wrong")
    return content


def _checksum(key: bytes, content: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(key, digest_size=_CHECKSUM_BYTES)
    digest.update(content)
    return digest.digest()
