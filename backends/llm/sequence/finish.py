"""Which tokens stay when generated text is cut at a stop string."""

from dataclasses import dataclass

from backends.llm.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Cut:
    """The first `num_same` generated tokens, then the ids of what a token split by the cut left."""

    num_same: int
    rest: list[int]


def cut_at_text(ids: list[int], text: str, tokenizer: Tokenizer) -> Cut:
    """Tokens for exactly `text`, a prefix of the decoding of `ids`, so that a context holds what
    its caller was given."""
    for num_same in range(len(ids), 0, -1):
        decoded = tokenizer.decode(ids[:num_same])
        if text.startswith(decoded):
            return Cut(num_same, tokenizer.encode_text(text[len(decoded) :]))
    return Cut(0, tokenizer.encode_text(text))
