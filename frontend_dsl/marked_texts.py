"""Texts that hold symbolic values: where the markers stand, and what stands behind them."""

from typing import Any

from frontend_dsl.errors import TraceError
from frontend_dsl.markers import Mark, find_marks, is_spoilt, without_sign
from frontend_dsl.value import Handle, Value, numbered
from frontend_dsl.where import user_frame


def split_marks(text: str) -> list[str | Value]:
    """The text between markers and the values the markers stand for, in order, no empty text."""
    pieces: list[str | Value] = []
    end = 0
    for found in find_marks(text):
        pieces += [text[end : found.start]] if found.start > end else []
        pieces.append(_behind(found))
        end = found.end
    return [*pieces, text[end:]] if end < len(text) else pieces


def _behind(found: Mark) -> Value:
    value = numbered(found.number)
    if value is None:
        problem = "a text holds a value of a trace that is over; make the text in the app"
        raise TraceError(problem, *user_frame())
    return value if found.stripped is None else value._here().emit_strip(value, found.stripped)


def make_readable(error: BaseException) -> None:
    """Let the message of an exception of the user's name values where their markers stand, and so
    those of the exceptions behind it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.args = _readable(one.args)
            vars(one).update(_readable({**vars(one)}))
            waiting += [one.__cause__, one.__context__]


def _readable(value: Any, depth: int = 4) -> Any:
    """The same for people: symbolic values, also in lists, tuples and dicts, by their names."""
    if isinstance(value, Value):
        return without_sign(repr(value))
    if isinstance(value, str):
        return _readable_text(value)
    if type(value) not in (list, tuple, dict) or not depth:
        return value
    items = [*value.items()] if isinstance(value, dict) else [*value]
    readable = [_readable(item, depth - 1) for item in items]
    is_changed = any(new is not old for new, old in zip(readable, items, strict=True))
    return type(value)(readable) if is_changed else value


def _readable_text(text: str) -> str:
    shown, end = "", 0
    for found in find_marks(text):
        behind = numbered(found.number)
        name = "" if behind is None else f" %{behind._name}"
        shown += f"{text[end : found.start]}<symbolic{name}>"
        end = found.end
    shown = without_sign(shown + text[end:])
    if is_spoilt(shown):
        return "<a text that holds values of the run>"
    return text if shown == text else shown


def has_marks(value: object) -> bool:
    """Whether a string holds the marker of a symbolic value."""
    return isinstance(value, str) and next(find_marks(value), None) is not None


def is_symbolic(value: object) -> bool:
    """Whether a value, or anything inside a list, tuple, dict or set, is known only at run time."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(map(is_symbolic, value))
    if isinstance(value, dict):
        return any(map(is_symbolic, (*value, *value.values())))
    if isinstance(value, Handle):
        return isinstance(value.behind, Value)
    return isinstance(value, Value) or has_marks(value)


def is_mangled(value: object) -> bool:
    """Whether a text holds a piece of a symbolic value's marker."""
    if isinstance(value, (bytes, bytearray)):  # no text: a whole marker counts too
        value = value.decode("utf-8", "replace")
        return has_marks(value) or is_spoilt(value)
    if not isinstance(value, str):
        return False
    texts, end = [], 0
    for found in find_marks(value):
        texts.append(value[end : found.start])
        end = found.end
    return any(map(is_spoilt, (*texts, value[end:])))
