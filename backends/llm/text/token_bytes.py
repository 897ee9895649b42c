"""The bytes that each token stands for: a token may be a part of a character."""

import re
from collections.abc import Container

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders

_BYTE = re.compile("<0x([0-9A-F]{2})>")  # how vocabularies with byte fallback write a byte


class TokenBytes:
    """A function from a token id to its bytes; markup and ids beyond the vocabulary have none."""

    def __init__(self, rust: RustTokenizer, special_ids: Container[int]) -> None:
        self._rust = rust
        self._special_ids = special_ids
        self._known: dict[int, bytes] = {}
        self.is_exact = isinstance(rust.decoder, decoders.ByteLevel)  # bytes join to the text

    def __call__(self, token_id: int) -> bytes:
        found = self._known.get(token_id)
        if found is None:
            found = self._known[token_id] = self._read(token_id)
        return found

    def _read(self, token_id: int) -> bytes:
        token = self._rust.id_to_token(token_id)
        if token is None or token_id in self._special_ids:
            return b""
        return _byte_level(token) if self.is_exact else _plain(token)


def _byte_level(token: str) -> bytes:
    if any(char not in _BYTES for char in token):  # an added token stands for itself
        return token.encode()
    return bytes(_BYTES[char] for char in token)


def _plain(token: str) -> bytes:
    if found := _BYTE.fullmatch(token):
        return bytes([int(found[1], 16)])
    return token.replace("▁", " ").encode()


def _byte_table() -> dict[str, int]:
    """GPT-2's: printable bytes stand for themselves, the others for characters from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_table()
