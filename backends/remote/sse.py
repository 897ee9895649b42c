"""Server-sent events and lines of JSON from pieces of bytes, wherever these were cut.

Lines are cut as bytes and decoded whole, so that no character is ever split. Source: the HTML
standard, "Server-sent events", section 9.2.6.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its data, and its type where the server names one."""

    data: str
    type: str = ""


class Decoder(Protocol):
    """Takes bytes as they come and gives the events that end in them."""

    def feed(self, piece: bytes) -> list[Event]: ...

    def end(self) -> list[Event]:
        """What is left when the bytes end."""


class SSEDecoder:
    """Events of text/event-stream. One that no blank line ends was cut, and is dropped."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self._data: list[str] = []
        self._type = ""

    def feed(self, piece: bytes) -> list[Event]:
        return [event for line in self._lines.feed(piece) for event in self._take_line(line)]

    def end(self) -> list[Event]:
        """Some servers end with a [DONE] that has no blank line after it."""
        return [event for event in self.feed(b"\n\n") if event.data == "[DONE]"]

    def _take_line(self, line: str) -> list[Event]:
        if line:
            self._take_field(line)
            return []
        ended = [Event("\n".join(self._data), self._type)] if self._data else []
        self._data, self._type = [], ""
        return ended

    def _take_field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value


class JSONLinesDecoder:
    """A line, an event. The last may have no line end."""

    def __init__(self) -> None:
        self._lines = _Lines()

    def feed(self, piece: bytes) -> list[Event]:
        return [Event(line) for line in self._lines.feed(piece) if line.strip()]

    def end(self) -> list[Event]:
        return self.feed(b"\n")


class _Lines:
    """Lines that end in LF, CRLF or CR."""

    def __init__(self) -> None:
        self._open: list[bytes] = []  # pieces of a line whose end did not come yet
        self._is_first = True

    def feed(self, piece: bytes) -> list[str]:
        self._open.append(piece)
        if not any(b"\n" in last or b"\r" in last for last in self._open[-2:]):
            return []
        whole = b"".join(self._open)
        held = b"\r" if whole.endswith(b"\r") else b""  # the LF of a CRLF may come next
        whole = whole.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = whole.split(b"\n")
        self._open = [rest, held] if held else [rest]
        return [self._decode(line) for line in lines]

    def _decode(self, line: bytes) -> str:
        text = line.decode("utf-8", "replace")
        if self._is_first:
            self._is_first, text = False, text.removeprefix("\ufeff")
        return text
