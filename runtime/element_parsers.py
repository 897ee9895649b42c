"""The elements of a list inside a text that is still being decoded.

JSON: an element is read as soon as its text is complete, by the declared type of the list's items;
at the end the whole is read too, so that a text is refused for the same reasons as by `parse`.
Lines: a numbered or bulleted line is complete at its line break.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from backends.json_items import JsonItems
from graph_opt.graph import Node
from runtime.errors import ParseError
from runtime.ops.parse import parse_text

LINE = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s+(.*\S)\s*$")


class ElementParser(Protocol):
    """Turns one growing text into the list's elements."""

    def more(self, text: str) -> Sequence[Any]:
        """The elements that are complete since the last call; the text goes on from that one's."""

    def finish(self, text: str) -> list[Any]:
        """The whole list. Raises ParseError if the whole text is not what it should be."""


class ElementType(Protocol):
    """How the items of a list of a declared type are read, each alone."""

    @property
    def keys(self) -> Sequence[str]:
        """The keys in the JSON text that lead to the list."""

    def read(self, json: str) -> Any:
        """The item that this text is. Raises ValueError."""


class JsonElements:
    """The list in these fields of a JSON document of `type_`."""

    def __init__(self, name: str, type_: Any, path: Sequence[str], items: ElementType) -> None:
        self._name, self._type, self._path = name, type_, path
        self._read = items.read
        self._texts = JsonItems(items.keys)
        self._given: list[Any] = []
        self._is_broken = False

    def more(self, text: str) -> Sequence[Any]:
        num_given = len(self._given)
        for item in () if self._is_broken else self._texts.read(text):
            try:
                self._given.append(self._read(item))
            except ValueError:  # `finish` says what is wrong
                self._is_broken = True
                break
        return self._given[num_given:]

    def finish(self, text: str) -> list[Any]:
        """Elements given before stay the very same: a default may be a new one each time."""
        value = parse_text(text, self._name, self._type)
        for step in self._path:
            value = getattr(value, step)
        return [*self._given, *value[len(self._given) :]]


class LineElements:
    """The numbered or bulleted lines of a text."""

    def __init__(self) -> None:
        self._end = 0  # of the lines that were looked at

    def more(self, text: str) -> Sequence[str]:
        start, self._end = self._end, text.rfind("\n") + 1
        return _lines(text[start : self._end])

    def finish(self, text: str) -> list[str]:
        found = _lines(text)
        if not found:
            problem = f"the model's text has no numbered or bulleted line: {text[:200]!r}"
            raise ParseError(problem, text=text)
        return found


def element_parser(node: Node, symbols: Mapping[str, Any]) -> ElementParser:
    """The parser that an `elements` node names."""
    if node.attrs.get("parser") == "lines":
        return LineElements()
    name = str(node.attrs["type"])
    path = node.attrs["path"]
    assert isinstance(path, list), "the verifier lets only lists pass"
    items = symbols[str(node.attrs["items"])]
    return JsonElements(name, symbols[name], [str(step) for step in path], items)


def _lines(text: str) -> list[str]:
    return [match[1] for line in text.split("\n") if (match := LINE.match(line))]
