"""From texts to BERT's input."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from backends.errors import ConfigError, EngineUnavailable, RequestRejected, RequestTooLong

Ids = NDArray[np.int32]
CHARS_PER_TOKEN = 32  # of a text, read at first
MAX_TEXT_CHARS = 1 << 20  # of a text's beginning that holds fewer tokens than the model reads
MAX_WORD_CHARS = 256  # a longer word is one unknown token
NUM_MARKS = 2  # [CLS] and [SEP] around a text
Text = str | tuple[str, str]  # a text, or a pair that is told apart by token types

_log = logging.getLogger(__name__)
_given: set[tuple[Path, int]] = set()  # warnings, by model: embedders and rerankers share some


@dataclass(frozen=True, slots=True, eq=False)
class TextTokens:
    """A text or a pair as a model reads it, [CLS] and [SEP] included."""

    ids: Ids  # [T]
    types: Ids  # [T]
    is_word: NDArray[np.bool_]  # [T], a token of the text itself: not [CLS] or [SEP]
    is_cut: bool = False  # more of it was there than the model reads

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class PaddedBatch:
    """Texts made equally long. `rows` says where each was in the input."""

    rows: list[int]
    ids: NDArray[np.int64]  # [B, T]
    types: NDArray[np.int64]  # [B, T]
    mask: NDArray[np.int64]  # [B, T], 1 for a token and 0 for padding


class BertTokenizer:
    """The tokenizer of a model folder; longer texts are cut at `max_len` tokens, [SEP] kept, and
    only their beginnings are read.

    The first cut by a model is logged as a warning, once a process: what a model never sees cannot
    be found.
    """

    def __init__(self, folder: Path, max_len: int | None = None) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise EngineUnavailable(f"{folder} has no tokenizer.json")
        self.max_len = max_len_of(folder, max_len)
        self._folder = folder
        self._tokenizer = _read_tokenizer(path)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_len)  # pairs: the longer half is cut first

    def encode(self, texts: Sequence[Text]) -> list[TextTokens]:
        """The tokens of each text, in order."""
        cut = [self._beginning(text) for text in texts]
        encodings: list[Encoding] = self._tokenizer.encode_batch(cut)
        if self._warning not in _given:
            self._warn_of_cuts(encodings)
        return [_tokens(encoding) for encoding in encodings]

    def marked(self, ids: Sequence[int]) -> TextTokens:
        """Token ids of a text as the model reads it; its marks may be among them. Raises
        RequestRejected for ids that are not this model's."""
        num_ids = self._tokenizer.get_vocab_size()
        if wrong := [token for token in ids if not 0 <= token < num_ids]:
            raise RequestRejected(
                f"{self._folder.name} has no token {wrong[0]}; its ids go from 0 to {num_ids - 1}: "
                "ids of another model's tokenizer say nothing here, so send texts"
            )
        first, last = self._tokenizer.encode("").ids
        own = [*ids]
        if len(own) > 1 and (own[0], own[-1]) == (first, last):
            own = own[1:-1]
        kept = own[: self.max_len - NUM_MARKS]
        whole = np.array([first, *kept, last], np.int32)
        is_word = np.array([False, *(True for _ in kept), False])
        return TextTokens(whole, np.zeros_like(whole), is_word, len(kept) < len(own))

    def _beginning(self, text: Text) -> Text:
        """So much of it that the model reads the same; so the time that a text takes is bounded.

        Raises RequestTooLong for one whose beginning holds too few tokens, as of blanks.
        """
        if isinstance(text, tuple):
            return self._long_enough(text[0]), self._long_enough(text[1])
        return self._long_enough(text)

    def _long_enough(self, text: str) -> str:
        num_chars = CHARS_PER_TOKEN * self.max_len + MAX_WORD_CHARS
        while len(text) > num_chars and not self._fills(text[:num_chars]):
            num_chars *= 4
            if num_chars > MAX_TEXT_CHARS:
                raise RequestTooLong(
                    f"a text has {len(text)} characters, whose first {num_chars // 4} hold less "
                    f"than the {self.max_len} tokens that the model reads: clean or split it"
                )
        return text[:num_chars]

    def _fills(self, beginning: str) -> bool:
        """All tokens that the model reads end so early that no later text changes them."""
        encoding = self._tokenizer.encode(beginning, add_special_tokens=False)
        return (
            len(encoding) == self.max_len
            and encoding.offsets[-1][1] <= len(beginning) - MAX_WORD_CHARS
        )

    @property
    def _warning(self) -> tuple[Path, int]:
        return self._folder.resolve(), self.max_len

    def _warn_of_cuts(self, encodings: Sequence[Encoding]) -> None:
        num_cut = sum(bool(encoding.overflowing) for encoding in encodings)
        if num_cut:
            _given.add(self._warning)
            _log.warning(
                "%s reads %d tokens of a text; %d of %d texts are longer and their ends are left "
                "out. Split documents by its tokens: "
                "tl.split(..., tokenizer=THE_MODEL, chunk_tokens=%d). Said once a process",
                self._folder.name,
                self.max_len,
                num_cut,
                len(encodings),
                self.max_len - NUM_MARKS,
            )


def padded_batches(texts: Sequence[TextTokens], budget_tokens: int) -> Iterator[PaddedBatch]:
    """Longest first, each batch at most `budget_tokens` with its padding (or a single text).

    Neighbours in length share a batch, so little of it is padding.
    """
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    start = 0
    while start < len(order):
        length = len(texts[order[start]])
        size = max(1, budget_tokens // max(1, length))
        rows = order[start : start + size]
        yield _pad(rows, [texts[row] for row in rows], length)
        start += size


def _tokens(encoding: Encoding) -> TextTokens:
    return TextTokens(
        np.array(encoding.ids, np.int32),
        np.array(encoding.type_ids, np.int32),
        np.array(encoding.special_tokens_mask, np.int32) == 0,
        bool(encoding.overflowing),
    )


def max_len_of(folder: Path, wanted: int | None = None) -> int:
    """The tokens of a text that a model reads, its marks included: what is wanted, else what it
    was trained for. Raises ConfigError for more than fits it."""
    positions = _stated(folder / "config.json", "max_position_embeddings") or 512
    trained = _stated(folder / "sentence_bert_config.json", "max_seq_length") or positions
    if wanted is not None and wanted > positions:
        raise ConfigError(f"max_len {wanted} is more than the {positions} tokens of {folder}")
    return wanted or min(trained, positions)


def read_json(path: Path) -> dict[str, Any]:
    """An object of a model folder. Raises EngineUnavailable."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EngineUnavailable(f"{path} cannot be read: {error}") from error
    if not isinstance(read, dict):
        raise EngineUnavailable(f"{path} holds {read!r:.60}, not an object")
    return read


def _stated(path: Path, field: str) -> int | None:
    length = read_json(path).get(field) if path.is_file() else None
    if length is None or (type(length) is int and NUM_MARKS < length <= 1 << 22):
        return length
    raise EngineUnavailable(f"{path}: {field} is {length!r:.60}, not a length of texts")


def _read_tokenizer(path: Path) -> Any:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers' errors share no base class
        raise EngineUnavailable(f"{path} cannot be read: {error}") from error


def _pad(rows: list[int], texts: Sequence[TextTokens], length: int) -> PaddedBatch:
    ids, types, mask = (np.zeros((len(rows), length), np.int64) for _ in range(3))
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text.ids
        types[row, : len(text)] = text.types
        mask[row, : len(text)] = 1
    return PaddedBatch(rows, ids, types, mask)
