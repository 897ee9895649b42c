"""The bytes that each token stands for: a token may be a part of a character."""

import json
import re
from collections.abc import Callable, Container, Iterator
from typing import Any

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models

BytesOf = Callable[[int], bytes]  # as `TokenBytes`
_SHRINK = 4  # a normal form of Unicode writes at most four bytes as one
_FORMS = frozenset(("NFC", "NFD", "NFKC", "NFKD", "Prepend", "Lowercase"))
_SPLITS = frozenset(("ByteLevel", "Metaspace", "Digits", "Split", "Punctuation"))
_UNKNOWN_BYTES = 1024  # a token of a tokenizer that drops or joins what it reads

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


def longest_token_bytes(rust: RustTokenizer) -> int:
    """The most bytes of a text that one token can stand for."""
    longest = max((len(token.encode()) for token in rust.get_vocab()), default=1)
    if not _keeps_all(rust):
        return max(longest * _SHRINK, _UNKNOWN_BYTES)
    return longest if rust.normalizer is None else longest * _SHRINK


def vocabulary_characters(token: str, is_byte_level: bool) -> list[str]:
    """A token's bytes or characters as a vocabulary writes each of them."""
    if not is_byte_level or all(char in _BYTES for char in token):
        return list(token)
    return [_CHARACTERS[byte] for byte in token.encode()]


def _keeps_all(rust: RustTokenizer) -> bool:
    """Each byte of a text comes back in some token: nothing is dropped, and no run of unknown
    characters is one token."""
    model = rust.model
    if not isinstance(model, models.BPE) or (model.fuse_unk and not model.byte_fallback):
        return False
    kinds = {*_kinds(rust.normalizer)} - {"Replace"}
    splits = {*_kinds(rust.pre_tokenizer)}
    return kinds <= _FORMS and splits <= _SPLITS and not _removes(rust)


def _removes(rust: RustTokenizer) -> bool:
    told = (_state(rust.normalizer), _state(rust.pre_tokenizer))
    return any(
        "Removed" in json.dumps(state) or '"content": ""' in json.dumps(state) for state in told
    )


def _kinds(part: Any) -> Iterator[str]:
    """The types of a component and of those in it."""
    waiting = [_state(part)]
    while waiting:
        state = waiting.pop()
        if state is not None and state["type"] != "Sequence":
            yield state["type"]
        for name in ("normalizers", "pretokenizers"):
            waiting += (state or {}).get(name, [])


def _state(part: Any) -> Any:
    return None if part is None else json.loads(part.__getstate__())


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
_CHARACTERS = {byte: char for char, byte in _BYTES.items()}
