"""Token ids of text and of markup: two doors, so that text can never turn into markup.

Markup are all tokens that were added to the vocabulary, special or not; only added runs of white
space, which some vocabularies have for code, are words like any.
"""

import json
from collections.abc import Sequence
from functools import cached_property

from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer

from backends.errors import RequestRejected
from backends.llm.text.token_bytes import (
    TokenBytes,
    longest_token_bytes,
    vocabulary_characters,
)
from backends.text_check import check_texts


class Tokenizer:
    """A Hugging Face tokenizer with what the engine needs to know of its special tokens."""

    def __init__(
        self,
        rust: RustTokenizer,
        eos_ids: Sequence[int],
        bos_id: int | None = None,
        add_bos: bool = False,
    ) -> None:
        self._markup = rust
        self._text = _for_text(rust)
        added = rust.get_added_tokens_decoder()
        self.special_ids = frozenset(i for i, token in added.items() if token.special)
        self.markup_ids = frozenset(i for i, token in added.items() if _is_markup(token))
        self.bytes_of = TokenBytes(rust, self.special_ids)
        self.eos_ids = tuple(eos_ids)
        self.bos_id = bos_id
        self.add_bos = add_bos and bos_id is not None

    @property
    def vocab_size(self) -> int:
        size: int = self._markup.get_vocab_size(with_added_tokens=True)
        return size

    @cached_property
    def longest_token_bytes(self) -> int:
        """No token stands for more bytes of a text."""
        return longest_token_bytes(self._markup)

    def encode_text(self, text: str, spelled: Sequence[tuple[int, int]] = ()) -> list[int]:
        """Ids of a user's or program's text; "<|im_end|>" in it is ten characters like any. Tokens
        that reach into the `spelled` ranges of characters are written character by character.

        Raises RequestRejected.
        """
        check_texts([text])
        if spelled:
            ids = self._encode_spelled(text, spelled)
        else:
            # The batch call lets other threads run meanwhile; a long text takes a while.
            (encoded,) = self._text.encode_batch_fast([text], add_special_tokens=False)
            ids = encoded.ids
        if self.markup_ids.isdisjoint(ids):
            return ids
        return self._without_markup(ids)

    def spell(self, token_id: int) -> list[int]:
        """The token's characters (or bytes) as tokens of their own; the token itself where the
        vocabulary lacks one."""
        pieces = vocabulary_characters(self.token(token_id), self.bytes_of.is_exact)
        found = [self._markup.token_to_id(piece) for piece in pieces]
        ids = [i for i in found if i is not None and i not in self.markup_ids]
        return ids if len(ids) == len(found) else [token_id]

    def _encode_spelled(self, text: str, ranges: Sequence[tuple[int, int]]) -> list[int]:
        (encoded,) = self._text.encode_batch([text], add_special_tokens=False)
        ids: list[int] = []
        for token_id, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
            is_inside = any(start < last and first < end for first, last in ranges)
            ids += self.spell(token_id) if is_inside else [token_id]
        return ids

    def _without_markup(self, ids: Sequence[int]) -> list[int]:
        """A vocabulary may hold an added token among its words too."""
        spelled = [i for id in ids for i in (self.spell(id) if id in self.markup_ids else [id])]
        if not self.markup_ids.isdisjoint(spelled):
            raise RequestRejected("this tokenizer would turn a piece of the text into markup")
        return spelled

    def encode_markup(self, markup: str) -> list[int]:
        """Ids of template markup, special tokens included."""
        ids: list[int] = self._markup.encode(markup, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int], with_markup: bool = False) -> str:
        """Text of generated ids; special tokens are left out, or written as markup."""
        text: str = self._markup.decode(list(ids), skip_special_tokens=not with_markup)
        return text

    def token(self, token_id: int | None) -> str:
        """A token as the vocabulary writes it; "" for none."""
        return "" if token_id is None else self._markup.id_to_token(token_id) or ""

    def to_json(self) -> str:
        text: str = self._markup.to_str()
        return text


def _is_markup(token: AddedToken) -> bool:
    return bool(token.special or not token.content.isspace())


def _for_text(rust: RustTokenizer) -> RustTokenizer:
    """That for text, to which all markup is special and none is found."""
    told = rust.to_str()
    added = rust.get_added_tokens_decoder().values()
    if any(_is_markup(token) and not token.special for token in added):
        whole = json.loads(told)
        for token in whole["added_tokens"]:
            token["special"] = token["special"] or not token["content"].isspace()
        told = json.dumps(whole, ensure_ascii=False)
    found: RustTokenizer = RustTokenizer.from_str(told)
    found.encode_special_tokens = True
    return found
