"""Log-probabilities in the two shapes that OpenAI's routes give them.

Tokens that are markup, such as the end of turn, have no text and are left out, unless tokens are
written as ids or the prompt stands before them.
"""

from collections.abc import Iterable
from itertools import accumulate
from math import isnan
from typing import Any

from backends.base import TokenLogprob

_LEAST = -9999.0  # what OpenAI writes for a token that could not be; JSON has no infinity


def chat_logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """`choices[].logprobs` of a chat completion."""
    shown = [token for token in tokens if token.raw]
    content = [{**_chat_token(t), "top_logprobs": [_chat_token(o) for o in t.top]} for t in shown]
    return {"content": content, "refusal": None}


def completion_logprobs(
    tokens: Iterable[TokenLogprob], *, as_ids: bool = False, start: int = 0
) -> dict[str, Any]:
    """`choices[].logprobs` of a completion; `start` is where the tokens' text begins. `as_ids`
    writes every token as vLLM does, `token_id:7`."""
    shown = [token for token in tokens if token.raw or as_ids]
    name = _id if as_ids else token_text
    texts = [token_text(token) for token in shown]
    return {
        "tokens": [name(token) for token in shown],
        "token_logprobs": [_number(token) for token in shown],
        "top_logprobs": [
            None if isnan(t.logprob) else {name(other): _number(other) for other in t.top}
            for t in shown
        ],
        "text_offset": [*accumulate(map(len, texts), initial=start)][: len(texts)],
    }


def token_text(token: TokenLogprob) -> str:
    """Half a character is a question mark."""
    return token.raw.decode(errors="replace")


def _chat_token(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token_text(token), "logprob": _number(token), "bytes": list(token.raw)}


def _id(token: TokenLogprob) -> str:
    return f"token_id:{token.id}"


def _number(token: TokenLogprob) -> float | None:
    return None if isnan(token.logprob) else max(token.logprob, _LEAST)
