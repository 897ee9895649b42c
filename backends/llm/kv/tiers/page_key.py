"""Keys of pages: a chain of digests, from what the KV is made by (a model's weights) over all pages
up to this one. Pages of another key are never read, also after a restart.
"""

import hashlib
import json
from array import array
from collections.abc import Hashable
from pathlib import Path

from backends.llm.kv.radix import RadixNode

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


DIGEST_BYTES = 20


class PageKeys:
    """`identity` names the model, its number type and the layout of a page. Without the `secret` of
    a folder (at most 64 bytes) nobody can tell which tokens a page in it is of."""

    def __init__(self, identity: str, page_size: int, secret: bytes = b"") -> None:
        self.identity = identity
        self._secret = secret
        self._page_size = page_size

    def of(self, node: RadixNode) -> list[bytes]:
        """One key for each page of the node; computed once and kept there."""
        unknown = [s for s in node.path() if s.parent and len(s.digests) < len(s.pages)]
        for step in reversed(unknown):
            self._fill(step)
        return node.digests

    def last(self, node: RadixNode) -> bytes:
        """The key of the last page up to `node`, from which the next one's is made."""
        return self._root(node.space) if node.parent is None else self.of(node)[-1]

    def following(self, last: bytes, ids: list[int], start: int) -> bytes:
        """The key of the page that holds the tokens from ids[start] on."""
        return self._digest(last + array("q", ids[start : start + self._page_size]).tobytes())

    def _fill(self, node: RadixNode) -> None:
        assert node.parent is not None, "a root has no page"
        last = node.digests[-1] if node.digests else self.last(node.parent)
        for i in range(len(node.digests), len(node.pages)):
            last = self.following(last, node.key, i * self._page_size)
            node.digests.append(last)

    def _root(self, space: Hashable) -> bytes:
        return self._digest(json.dumps([self.identity, space]).encode())

    def _digest(self, content: bytes) -> bytes:
        return hashlib.blake2b(content, digest_size=DIGEST_BYTES, key=self._secret).digest()
