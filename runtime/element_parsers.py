"""The elements of a list inside a text that is still being decoded.

JSON: jiter parses the partial text. An element is complete when the next one has begun or the list
is closed; a string when its quote is closed, since jiter omits an open one. Lines: a numbered or
bulleted line is complete at its line break.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, get_args, get_type_hints

import jiter
from pydantic import TypeAdapter, ValidationError

from graph_opt.graph import Node
from runtime.errors import ParseError
from runtime.ops.parse import parse_text

LINE = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s+(.*\S)\s*$")


class ElementParser(Protocol):
    """Turns growing text into the list's elements."""

    def elements(self, text: str) -> Sequence[Any]:
        """All elements that are complete in the text so far."""

    def finish(self, text: str) -> list[Any]:
        """The whole list. Raises ParseError if the whole text is not what it should be."""


class JsonElements:
    """The list at `path` in a JSON document of `type_`."""

    def __init__(self, name: str, type_: Any, path: Sequence[str]) -> None:
        self._name = name
        self._type = type_
        self._path = path
        self._item = TypeAdapter(_item_type(type_, path))

    def elements(self, text: str) -> Sequence[Any]:
        try:
            found = jiter.from_json(text.encode(), partial_mode=True)
        except ValueError:
            return ()  # nothing parses yet; `finish` reports what never will
        for step in self._path:
            found = found.get(step) if isinstance(found, dict) else None
        if not isinstance(found, list):
            return ()
        if found and not isinstance(found[-1], str) and not _is_closed(text):
            found = found[:-1]
        return self._checked(found)

    def finish(self, text: str) -> list[Any]:
        value = parse_text(text, self._name, self._type)
        for step in self._path:
            value = value[step] if isinstance(value, Mapping) else getattr(value, step)
        return list(value)

    def _checked(self, found: list[Any]) -> list[Any]:
        checked = []
        for element in found:
            try:
                checked.append(self._item.validate_python(element))
            except ValidationError:
                break  # `finish` says what is wrong
        return checked


class LineElements:
    """The numbered or bulleted lines of a text."""

    def elements(self, text: str) -> Sequence[str]:
        *complete, _ = text.split("\n")
        return _lines(complete)

    def finish(self, text: str) -> list[str]:
        found = _lines(text.split("\n"))
        if not found:
            raise ParseError(f"the model's text has no numbered or bulleted line: {text[:200]!r}")
        return found


def element_parser(node: Node, symbols: Mapping[str, Any]) -> ElementParser:
    """The parser that an `elements` node names."""
    if node.attrs.get("parser") == "lines":
        return LineElements()
    name = str(node.attrs["type"])
    path = node.attrs.get("path", [])
    assert isinstance(path, list), "the verifier lets only lists pass"
    return JsonElements(name, symbols[name], [str(step) for step in path])


def _lines(lines: Sequence[str]) -> list[str]:
    return [match[1] for line in lines if (match := LINE.match(line))]


def _is_closed(text: str) -> bool:
    try:
        jiter.from_json(text.encode())
    except ValueError:
        return False
    return True


def _item_type(type_: Any, path: Sequence[str]) -> Any:
    for step in path:
        type_ = get_type_hints(type_).get(step, Any) if isinstance(type_, type) else Any
    args = get_args(type_)
    return args[0] if args else Any
