"""Keys of pages: a chain of digests from the model over all pages up to this one."""

import hashlib
import json
from array import array
from collections.abc import Hashable

from backends.llm.kv.radix_node import RadixNode

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
