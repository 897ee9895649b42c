"""From a text that comes in pieces to content and calls: what the parsers of all formats share.

A parser holds back only what may still become a call. However the text is cut, it finds the same
content and calls; text that is no well-formed call is content. What follows on a call and ends in
the middle of markup, as where a limit of tokens cuts it, is neither.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

from backends.base import ToolCall

Piece: TypeAlias = "str | ToolCall"  # content, or a call; the id of a format without ids is empty
_SPACE = re.compile(r"\s*")
_MARKS = re.compile(r'["\\{}\[\]]')


class CallParser(Protocol):
    """Reads one turn of a model."""

    def feed(self, text: str) -> list[Piece]:
        """What is certain after more text."""

    def finish(self) -> list[Piece]:
        """What is left at the end of the turn."""


class NoCall(Exception):
    """The text is no well-formed call."""


class NeedMore(Exception):
    """Whether it is one, the text so far does not say."""


class TaggedParser:
    """Of formats whose calls begin with a tag. Space before and behind a call is no content."""

    tag: str
    end_tag = ""

    def __init__(self) -> None:
        self._text = ""  # undecided
        self._is_behind_call = False
        self.is_in_list = False  # more calls may come without a tag

    def feed(self, text: str) -> list[Piece]:
        self._text += text
        return list(self._pieces(is_end=False))

    def finish(self) -> list[Piece]:
        return list(self._pieces(is_end=True))

    def read_call(self, text: str, *, is_end: bool) -> tuple[list[ToolCall], int]:
        """The calls at the begin of the text, which is the tag or goes on in a list, and where they
        end. Raises NoCall and, unless the text is at its end, NeedMore."""
        raise NotImplementedError

    def _pieces(self, *, is_end: bool) -> Iterator[Piece]:
        while True:
            if self._is_behind_call:
                self._text = self._text.lstrip()
            at = 0 if self.is_in_list else self._text.find(self.tag)
            if at < 0:
                if is_end and self._is_behind_call and self._is_begun_tag():
                    self._text = ""
                yield from self._content(
                    len(self._text) if is_end else _certain(self._text, self.tag)
                )
                return
            space = len(self._text[:at]) - len(self._text[:at].rstrip())
            yield from self._content(at - space)
            try:
                calls, end = self.read_call(self._text[space:], is_end=is_end)
            except NeedMore:
                return
            except NoCall:
                if is_end and self._is_behind_call and self._is_begun_call():
                    self._text = ""
                    return
                yield from self._content(0 if self.is_in_list else space + len(self.tag))
                self.is_in_list = False
            else:
                yield from calls
                self._text, self._is_behind_call = self._text[space + end :], True

    def _is_begun_tag(self) -> bool:
        return self.tag.startswith(self._text) or self.end_tag.startswith(self._text)

    def _is_begun_call(self) -> bool:
        try:
            self.read_call(self._text, is_end=False)
        except NeedMore:
            return True
        except NoCall:
            return False
        raise AssertionError("it is no call at the end of its text")

    def _content(self, end: int) -> Iterator[str]:
        if end:
            text, self._text = self._text[:end], self._text[end:]
            self._is_behind_call = False
            yield text


class JSONScan:
    """Finds the end of a JSON object in a text that grows; goes on where it stopped."""

    def __init__(self) -> None:
        self._start = self._at = self._depth = 0
        self._is_in_string = False

    def end(self, text: str, start: int, *, is_end: bool) -> int:
        """Behind the object that begins at `start`. Raises NoCall and NeedMore."""
        if start != self._start or self._at > len(text):
            self._start = self._at = start
            self._depth, self._is_in_string = 0, False
        if start < len(text) and text[start] != "{":
            raise NoCall
        while mark := _MARKS.search(text, self._at):
            if mark[0] == "\\" and mark.end() == len(text):
                break  # what it escapes is to come
            self._at = mark.end() + (mark[0] == "\\")
            if self._is_closed_by(mark[0]):
                self._start = -1
                return mark.end()
        if not mark:
            self._at = max(self._at, len(text))
        if not is_end:
            raise NeedMore
        self._start = -1
        raise NoCall

    def _is_closed_by(self, mark: str) -> bool:
        if mark == '"':
            self._is_in_string = not self._is_in_string
        elif not self._is_in_string and mark != "\\":
            self._depth += 1 if mark in "{[" else -1
        return self._depth == 0 and not self._is_in_string


def skip_space(text: str, start: int) -> int:
    """Where the next text begins that is no space."""
    found = _SPACE.match(text, start)
    return found.end() if found else start


def skip(text: str, start: int, word: str, *, is_end: bool) -> int:
    """Behind the word, if it stands there, else `start`. Raises NeedMore where it may come."""
    if text.startswith(word, start):
        return start + len(word)
    if not is_end and word.startswith(text[start:]):
        raise NeedMore
    return start


def expect(text: str, start: int, word: str, *, is_end: bool) -> int:
    """Behind the word. Raises NoCall where something else stands, and NeedMore."""
    end = skip(text, start, word, is_end=is_end)
    if end == start:
        raise NoCall
    return end


def call_from(text: str, arguments_keys: tuple[str, ...] = ("arguments",)) -> ToolCall:
    """The call that a JSON object says. Raises NoCall."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise NoCall from None
    if not isinstance(said, dict) or not isinstance(said.get("name"), str) or not said["name"]:
        raise NoCall
    given: Any = next((said[key] for key in arguments_keys if key in said), {})
    id = said.get("id", "")
    return ToolCall(id if isinstance(id, str) else "", said["name"], arguments_from(given))


def arguments_from(given: object) -> str:
    """Arguments as the JSON of an object; some models write it into a string. Raises NoCall."""
    try:
        if isinstance(given, str):
            given = json.loads(given)
        if not isinstance(given, dict):
            raise NoCall
        return json.dumps(given, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        raise NoCall from None


def _certain(text: str, tag: str) -> int:
    """How much of the text is content whatever follows: a tag may begin at its end, and space
    before a tag is no content."""
    for size in range(min(len(text), len(tag) - 1), 0, -1):
        if text.endswith(tag[:size]):
            text = text[:-size]
            break
    return len(text.rstrip())
