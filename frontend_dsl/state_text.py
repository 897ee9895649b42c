"""The log of a state, as parts of a prompt, as a text and as messages."""

from collections.abc import Callable, Sequence
from typing import Any

from frontend_dsl.messages import Message
from frontend_dsl.template import is_t_string, pieces, rendered
from frontend_dsl.value import Value
from frontend_dsl.writing import prompt_parts
from graph_opt.graph import Marker


def parts_of_log(
    log: Sequence[Any], constants: tuple[str, ...], given: Callable[[str], Value | None]
) -> list[Any]:
    """What was said, as a prefill takes it."""
    parts: list[Any] = []
    words: list[str | Value] = []
    for item in log:
        if isinstance(item, Marker):
            parts += [*prompt_parts(_merged(words)), item]
            words = []
        elif isinstance(item, Value):
            words.append(item)
        else:
            words += pieces(item, constants, given)
    return [*parts, *prompt_parts(_merged(words))]


def text_of(log: Sequence[Any]) -> str:
    """All texts; of turns as `role: text` lines."""
    turns = _turns(log)
    return "\n".join(text if role is None else f"{role}: {text}" for role, text in turns)


def messages_of(log: Sequence[Any]) -> list[Message]:
    """The turns; a text before the first is in none."""
    return [Message(role, text) for role, text in _turns(log) if role is not None]


def _turns(log: Sequence[Any]) -> list[tuple[Any, str]]:
    turns: list[tuple[str | None, list[str]]] = []
    for item in log:
        if isinstance(item, Marker):
            turns.append((item.word, []))
        else:
            if not turns:
                turns.append((None, []))
            turns[-1][1].append(rendered(item) if is_t_string(item) else f"{item}")
    return [(role, "".join(texts)) for role, texts in turns]


def _merged(words: Sequence[str | Value]) -> list[str | Value]:
    """Texts that stand side by side as one: a prompt is tokenised part by part."""
    merged: list[str | Value] = []
    for word in words:
        if isinstance(word, str) and merged and isinstance(merged[-1], str):
            merged[-1] += word
        else:
            merged.append(word)
    return merged
