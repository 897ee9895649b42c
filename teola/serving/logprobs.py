"""Log-probabilities in the two shapes that OpenAI's routes give them.

Tokens that are markup, such as the end of turn, have no text and are left out.
"""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from backends.base import TokenLogprob

_LEAST = -9999.0  # what OpenAI writes for a token that could not be; JSON has no infinity


def chat_logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """`choices[].logprobs` of a chat completion."""
    shown = [token for token in tokens if token.raw]
    content = [{**_chat_token(t), "top_logprobs": [_chat_token(o) for o in t.top]} for t in shown]
    return {"content": content, "refusal": None}


def completion_logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """`choices[].logprobs` of a completion; offsets count from the start of the answer."""
    shown = [token for token in tokens if token.raw]
    texts = [_text(token) for token in shown]
    return {
        "tokens": texts,
        "token_logprobs": [_number(token) for token in shown],
        "top_logprobs": [{_text(other): _number(other) for other in t.top} for t in shown],
        "text_offset": [0, *accumulate(len(text) for text in texts)][: len(texts)],
    }


def _chat_token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": _text(token), "logprob": _number(token), "bytes": list(token.raw)}


def _text(token: TokenLogprob) -> str:
    return token.raw.decode(errors="replace")


def _number(token: TokenLogprob) -> float:
    return max(token.logprob, _LEAST)
