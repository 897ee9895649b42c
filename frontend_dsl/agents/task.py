"""What an agent is asked, as one text: paragraphs, then `name: value` lines."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from backends.documents import Doc
from frontend_dsl.declared_types import is_list
from frontend_dsl.functions import join
from frontend_dsl.signature import ArgumentError
from frontend_dsl.value import Value


def task_text(name: str, args: Sequence[Any], context: Mapping[str, Any]) -> str:
    """The user's message of an agent. Values of the run leave their markers in it.

    Positional texts are paragraphs, keyword arguments lines; a list has an item a line, a model is
    JSON. `task=` is the first paragraph. Raises ArgumentError where nothing is said.
    """
    named = dict(context)
    texts = [named.pop("task"), *args] if "task" in named else [*args]
    lines = [_line(key, value) for key, value in named.items()]
    paragraphs = [*map(shown, texts), *(["\n".join(lines)] if lines else [])]
    text = "\n\n".join(paragraphs)
    if not text.strip():
        raise ArgumentError(f"{name}() is asked nothing: give it a text, as in {name}('...')")
    return text


def shown(value: Any) -> str:
    """How an argument reads in a message."""
    if isinstance(value, str):
        return value
    if isinstance(value, Value):
        return join(value, "{text}") if is_list(value._type) else f"{value}"  # type: ignore[arg-type]
    if isinstance(value, Doc):
        return value.text
    if isinstance(value, (list, tuple)):
        return "\n".join(map(shown, value))
    if hasattr(value, "model_dump_json"):
        return str(value.model_dump_json())
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=shown)
    return f"{value}"


def _line(key: str, value: Any) -> str:
    type_ = value._type if isinstance(value, Value) else type(value)
    return f"{key}:\n{shown(value)}" if is_list(type_) else f"{key}: {shown(value)}"
