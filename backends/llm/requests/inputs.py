"""The inputs and common attributes of LLM requests, checked. Raises RequestRejected."""

from collections.abc import Iterable
from collections.abc import Sequence as Items
from typing import Literal, Protocol, cast, get_args

from backends.base import Part, Request, Tokens, Turn
from backends.errors import RequestRejected
from backends.llm.fusion.link import Encoded
from backends.llm.requests.sampling import check_choices
from backends.request_limits import MAX_NAME_CHARS, MAX_PARTS, check_size

Score = Literal["mean", "sum"]  # of the log-probabilities of a choice's tokens
ALL_TAKE = frozenset(("adapter", "cache_salt"))  # attributes of prefill, decode and select
TOOLS_TAKE = frozenset(("tools", "tool_choice", "parallel_tool_calls"))
PROMPTS_TAKE = ALL_TAKE | TOOLS_TAKE  # of prefill and decode


def parts_of(inputs: Items[object], vocab_size: int) -> list[Part]:
    """The pieces of a prompt."""
    check_size("a prompt", len(inputs), MAX_PARTS, "parts")
    parts: list[Part] = []
    for part in inputs:
        if not isinstance(part, str | Turn | Tokens):
            raise RequestRejected(f"a prompt is made of text, turns and token ids, not {part!r}")
        if isinstance(part, Tokens):
            check_ids(part.ids, "a prompt", vocab_size)
        parts.append(part)
    return parts


def linked_parts_of(inputs: Items[object], vocab_size: int) -> list[Part | Encoded]:
    """The pieces of a prompt, some of which may have KV elsewhere."""
    plain = iter(parts_of([part for part in inputs if not isinstance(part, Encoded)], vocab_size))
    return [part if isinstance(part, Encoded) else next(plain) for part in inputs]


def check_ids(ids: Iterable[object], where: str, vocab_size: int) -> None:
    for token in ids:
        if type(token) is not int or not 0 <= token < vocab_size:
            raise RequestRejected(
                f"{where} has a token {token!r}; ids go from 0 to {vocab_size - 1}"
            )


def choices_of(request: Request) -> list[str]:
    """What a select chooses from."""
    choices = request.inputs[1] if len(request.inputs) == 2 else None
    is_list = isinstance(choices, list | tuple) and all(isinstance(c, str) for c in choices)
    if not is_list or not choices:
        raise RequestRejected("select takes a context and a list of one string or more")
    check_choices(choices)
    return list(choices)


def score_of(request: Request) -> Score:
    """How a select scores."""
    if unknown := sorted(request.attrs.keys() - ALL_TAKE - {"score"}):
        raise RequestRejected(f"select takes no attributes but adapter and score, got {unknown}")
    score = request.attrs.get("score") or "mean"
    if score not in get_args(Score):
        raise RequestRejected(f"score must be one of {get_args(Score)}, not {score!r}")
    return cast(Score, score)


def num_logprobs(request: Request) -> int | None:
    """How many of the likeliest tokens a prefill tells; None: it tells none."""
    given = request.attrs.get("logprobs")
    if given is not None and type(given) is not int:
        raise RequestRejected(f"logprobs must be int, not {given!r}")
    return given


class Salted(Protocol):
    """A context."""

    @property
    def num_tokens(self) -> int: ...

    @property
    def salt(self) -> str: ...


def choose_salt(request: Request, parent: Salted | None) -> str:
    """Raises RequestRejected where KV of one tenant would be read by another."""
    salt = request.attrs.get("cache_salt")
    if salt is not None and (not isinstance(salt, str) or not salt):
        raise RequestRejected(f"cache_salt must be a text with at least a character, not {salt!r}")
    check_size("cache_salt", len(salt or ""), MAX_NAME_CHARS, "characters")
    if parent is None or not parent.num_tokens:
        return salt or ""
    if salt is not None and salt != parent.salt:
        raise RequestRejected(
            "this context was made with another cache_salt, and its KV is for that one alone: "
            "prefill the whole prompt with this salt"
        )
    return parent.salt
