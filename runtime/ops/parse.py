"""`parse`: decoded text -> a value of a declared type."""

from collections.abc import Mapping, Sequence
from typing import Any

import jiter
from pydantic import TypeAdapter, ValidationError

from graph_opt.graph import Node
from runtime.cost.sizes import first_arg_size
from runtime.errors import ParseError
from runtime.ops.base import OpRun

SHOWN_CHARS = 200


def parse_text(text: str, name: str, type_: Any) -> Any:
    """The value that the JSON text says. Raises ParseError that tells what is wrong where."""
    try:
        value = TypeAdapter(type_).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = f"{first['msg']}{f' at {place!r}' if place else ''}"
        shown = text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."
        problem = f"the model's text is not a {name}: {reason}"
        raise ParseError(f"{problem}; it wrote {shown!r}", reason, text) from None
    _check_keys(text, name)
    return value


def _check_keys(text: str, name: str) -> None:
    """A key that stands twice has two values: neither is what the model meant for sure."""
    try:
        jiter.from_json(text.encode(), catch_duplicate_keys=True)
    except ValueError as error:
        if "duplicate key" in str(error):
            problem = f"the model's text is no clear {name}: {error}"
            raise ParseError(problem, str(error), text) from None


def _run(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:
    name = str(node.attrs["type"])
    return parse_text(args[0], name, symbols[name])


PARSE = OpRun(run=_run, size=first_arg_size)
