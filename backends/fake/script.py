"""Replies that a test wrote, for `tl.fake`: by pattern, by a function, in order; and a record."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.errors import ConfigError, NoReply

MAX_SHOWN = 400  # characters of a prompt in a message
_TURN = re.compile(r"<\|(system|user|assistant|tool)\|>")

Reply = Any  # a text; an Exception, to raise; else a value, written as JSON
Replies = Mapping[str, Any] | Sequence[Any] | Callable[[str], Any] | str | None


@dataclass(frozen=True, slots=True)
class FakeCall:
    """One prompt that a model was asked to answer."""

    engine: str  # the URL of the model that it was for
    prompt: str  # turns begin with <|user|> and the like
    parameters: Mapping[str, Any]  # max_tokens, temperature, schema, tools (their names) ...
    reply: str

    @property
    def messages(self) -> list[tuple[str, str]]:
        """The turns of the prompt as (role, text); without turns one of the role ""."""
        first, *rest = _TURN.split(self.prompt)
        turns = list(zip(rest[::2], rest[1::2], strict=True))
        turns = turns[:-1] if turns[-1:] == [("assistant", "")] else turns  # the one to write
        return [("", first), *turns] if first or not turns else turns


class Script:
    """What a fake LLM replies. Threads may share it. Raises NoReply where nothing fits."""

    def __init__(self, engine: str, replies: Replies, calls: list[FakeCall]) -> None:
        """Appends to `calls`. Raises ConfigError for a pattern that is none."""
        self._engine = engine
        self._calls = calls
        self._lock = threading.Lock()
        self._find = _finder(engine, replies)

    def reply(self, prompt: str, parameters: Mapping[str, Any], made_up: Callable[[], str]) -> str:
        """The text for a prompt; `made_up` is what a fake LLM without a script would say."""
        with self._lock:
            found = self._find(prompt)
        text = made_up() if found is None else text_of(found, parameters.get("schema"))
        self._calls.append(FakeCall(self._engine, prompt, dict(parameters), text))
        return text


def text_of(value: Any, schema: Mapping[str, Any] | None = None) -> str:
    """A reply as a model held to the schema would write it. Raises it, if it is an exception."""
    if isinstance(value, str):
        return json.dumps(value) if schema is not None and _is_bare(value, schema) else value
    if isinstance(value, Exception):
        raise value
    from pydantic import TypeAdapter

    return TypeAdapter(type(value)).dump_json(value).decode()


def _is_bare(text: str, schema: Mapping[str, Any]) -> bool:
    """Whether a text stands for a JSON string that the schema asks for: `yes` for `"yes"`."""
    is_of_texts = schema.get("type") == "string" or text in schema.get("enum", ())
    return is_of_texts and not text.startswith('"')


def _finder(engine: str, replies: Replies) -> Callable[[str], Any]:
    """From a prompt to what stands for it; None: nothing was written at all."""
    if replies is None:
        return lambda _: None
    if isinstance(replies, Mapping):
        return _by_pattern(engine, replies)
    if isinstance(replies, Sequence) and not isinstance(replies, str):
        return _in_order(engine, replies)
    return lambda prompt: _given(engine, replies, prompt)


def _by_pattern(engine: str, replies: Mapping[str, Any]) -> Callable[[str], Any]:
    found = [
        (_compiled(pattern), _of_pattern(engine, answer)) for pattern, answer in replies.items()
    ]

    def find(prompt: str) -> Any:
        for pattern, answer in found:
            if pattern.search(prompt):
                return answer(prompt)
        patterns = ", ".join(repr(pattern.pattern) for pattern, _ in found) or "none"
        raise NoReply(
            f"no pattern of tl.fake for {engine} is in this prompt; there are {patterns}: add one, "
            f'or "" for all others. The prompt:\n{_shown(prompt)}'
        )

    return find


def _of_pattern(engine: str, answer: Any) -> Callable[[str], Any]:
    if isinstance(answer, list):
        return _in_order(engine, answer)
    return lambda prompt: _given(engine, answer, prompt)


def _in_order(engine: str, answers: Sequence[Any]) -> Callable[[str], Any]:
    left: Iterator[Any] = iter(answers)

    def find(prompt: str) -> Any:
        for answer in left:
            return _given(engine, answer, prompt)
        raise NoReply(
            f"tl.fake for {engine} has {len(answers)} replies in order, and all of them were "
            f"given: add one for this prompt:\n{_shown(prompt)}"
        )

    return find


def _given(engine: str, answer: Any, prompt: str) -> Any:
    if not callable(answer):
        return "null" if answer is None else answer
    made = answer(prompt)
    if made is None:
        name = getattr(answer, "__name__", repr(answer))
        raise NoReply(
            f"{name}(), the replies of tl.fake for {engine}, gave None for this prompt:\n"
            f"{_shown(prompt)}"
        )
    return made


def _compiled(pattern: Any) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ConfigError(
            f"the replies of tl.fake have the key {pattern!r}, which is no regular expression: "
            f"{error}"
        ) from None


def _shown(prompt: str) -> str:
    if len(prompt) <= MAX_SHOWN:
        return prompt
    half = MAX_SHOWN // 2
    return f"{prompt[:half]} ... {prompt[-half:]}"
