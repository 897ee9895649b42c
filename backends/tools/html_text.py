"""HTML to the text that a reader sees: blocks and `<br>` break lines, inline elements do not.

Runs of white space become one space, as in a browser, but `<pre>` stays as it is. The cells of a
table row share a line, with ` | ` between them.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

_HIDDEN = ("script", "style", "noscript", "template", "head")
_CELLS = ("td", "th")
_BLOCKS = """
address article aside blockquote body caption center dd details dialog dir div dl dt fieldset
figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav
ol optgroup option p search section summary table tbody tfoot thead title tr ul
"""
_BREAKS = frozenset([*_BLOCKS.split(), "br"])


def visible_text(soup: Any) -> str:
    """The visible text of a parsed page. Removes what is hidden from the page itself."""
    for hidden in soup(list(_HIDDEN)):
        hidden.decompose()
    page = _Page()
    for event, what in _walk(soup):
        if event is _Event.TEXT:
            page.add(str(what))
        elif what.name == "pre":
            page.preformatted(begins=event is _Event.BEGIN)
        elif what.name in _BREAKS and (event is _Event.BEGIN or what.name != "br"):
            page.break_line()
        elif what.name in _CELLS and event is _Event.BEGIN:
            page.begin_cell()
    return page.text()


class _Page:
    """Text as it is laid out, line by line."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._open: list[str] = []  # the pieces of the line, or of the `<pre>`, that is open
        self._pre_depth = 0

    def add(self, text: str) -> None:
        self._open.append(text)

    def begin_cell(self) -> None:
        if any(piece.strip() for piece in self._open):
            self._open.append(" | ")

    def break_line(self) -> None:
        if self._pre_depth:
            self._open.append("\n")
        else:
            self._close(re.sub(r"\s+", " ", "".join(self._open)).strip())

    def preformatted(self, *, begins: bool) -> None:
        if self._pre_depth == 0:
            self.break_line()
        self._pre_depth += 1 if begins else -1
        if self._pre_depth == 0:
            self._close("".join(self._open).strip("\r\n"))

    def text(self) -> str:
        self.break_line()
        return "\n".join(self._lines)

    def _close(self, line: str) -> None:
        self._open = []
        if line.strip():
            self._lines.append(line)


class _Event(Enum):
    BEGIN = auto()
    TEXT = auto()
    END = auto()


def _walk(root: Any) -> Iterator[tuple[_Event, Any]]:
    """Without recursion: unclosed tags nest thousands deep."""
    open_ = [(root, iter(list(root.children)))]
    while open_:
        element, children = open_[-1]
        child = next(children, None)
        if child is None:
            open_.pop()
            yield _Event.END, element
        elif child.name is not None:
            open_.append((child, iter(list(child.children))))
            yield _Event.BEGIN, child
        elif type(child).__name__ in ("NavigableString", "CData"):  # no comment, no doctype
            yield _Event.TEXT, child
