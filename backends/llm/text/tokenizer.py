"""Token ids of text and of markup: two doors, so that text can never turn into a special token."""

import json
from collections.abc import Sequence

from tokenizers import Tokenizer as RustTokenizer

from backends.errors import RequestRejected
from backends.llm.text.token_bytes import TokenBytes
from backends.text_check import check_texts
from backends.tool_calls.formats import FORMATS

TAGS = frozenset(
    (
        *(marker for form in FORMATS for marker in form.markers),
        *("<tool_response>", "</tool_response>", "<tools>", "</tools>"),
    )
)


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
        self.bytes_of = TokenBytes(rust, self.special_ids)
        self.eos_ids = tuple(eos_ids)
        self.bos_id = bos_id
        self.add_bos = add_bos and bos_id is not None

    @property
    def vocab_size(self) -> int:
        size: int = self._markup.get_vocab_size(with_added_tokens=True)
        return size

    def encode_text(self, text: str) -> list[int]:
        """Ids of a user's or program's text; "<|im_end|>" in it is ten characters like any.

        Raises RequestRejected.
        """
        check_texts([text])
        # The batch call lets other threads run meanwhile; a long text takes a while.
        (encoded,) = self._text.encode_batch_fast([text], add_special_tokens=False)
        ids: list[int] = encoded.ids
        if self.special_ids.intersection(ids):
            raise RequestRejected("this tokenizer would turn a piece of the text into markup")
        return ids

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


def _for_text(rust: RustTokenizer) -> RustTokenizer:
    """That for text, in which the tags of tool calls are text too: some vocabularies have them as
    tokens of their own that are not special."""
    told = rust.to_str()
    added = rust.get_added_tokens_decoder().values()
    if any(token.content in TAGS and not token.special for token in added):
        whole = json.loads(told)
        for token in whole["added_tokens"]:
            token["special"] = token["special"] or token["content"] in TAGS
        told = json.dumps(whole, ensure_ascii=False)
    found: RustTokenizer = RustTokenizer.from_str(told)
    found.encode_special_tokens = True
    return found
