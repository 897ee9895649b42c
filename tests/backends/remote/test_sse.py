"""Events from bytes: wherever these are cut, the events are the same."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.remote.sse import Decoder, Event, JSONLinesDecoder, SSEDecoder


def decode(decoder: Decoder, *pieces: bytes) -> list[Event]:
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.end()


STREAM = (
    ": a comment\n"
    "data: plain\n\n"
    "data: one\ndata: two\ndata:\n\n"
    "event: error\r\nid: 7\r\nretry: 10\r\ndata: grün 🍐\r\n\r\n"
    "event: nothing\n\n"
    "data\n\n"
    "data:no space\r\r"
    "data:  two spaces\n\n"
    "\n\n\n"
    "data: last\u2028one\n\n"
).encode()
EVENTS = [
    Event("plain"),
    Event("one\ntwo\n"),
    Event("grün 🍐", "error"),
    Event(""),
    Event("no space"),
    Event(" two spaces"),
    Event("last\u2028one"),
]


def test_fields_comments_and_line_ends_of_all_kinds_are_read() -> None:
    assert decode(SSEDecoder(), STREAM) == EVENTS


@settings(deadline=None)
@given(st.sets(st.integers(0, len(STREAM))))
def test_a_stream_may_be_cut_anywhere(cuts: set[int]) -> None:
    ends = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in itertools.pairwise(ends)]

    assert decode(SSEDecoder(), *pieces) == EVENTS


def test_every_byte_may_come_alone() -> None:
    assert decode(SSEDecoder(), *(bytes((byte,)) for byte in STREAM)) == EVENTS


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert decode(SSEDecoder(), b"\xef\xbb", b"\xbfdata: x\n\n") == [Event("x")]


def test_an_event_without_its_blank_line_was_cut() -> None:
    assert decode(SSEDecoder(), b"data: x\n\ndata: y\n") == [Event("x")]
    assert decode(SSEDecoder(), b"data: x\n\ndata: y") == [Event("x")]


def test_done_needs_no_blank_line() -> None:
    assert decode(SSEDecoder(), b"data: x\n\ndata: [DONE]") == [Event("x"), Event("[DONE]")]


LINES = '{"a": 1}\n\n  \n{"b": "ü\u2028"}\r\n{"c": 3}'.encode()


@settings(deadline=None)
@given(st.sets(st.integers(0, len(LINES))))
def test_lines_of_json_may_be_cut_anywhere(cuts: set[int]) -> None:
    ends = [0, *sorted(cuts), len(LINES)]
    pieces = [LINES[a:b] for a, b in itertools.pairwise(ends)]

    assert decode(JSONLinesDecoder(), *pieces) == [
        Event('{"a": 1}'),
        Event('{"b": "ü\u2028"}'),
        Event('{"c": 3}'),
    ]


@pytest.mark.parametrize("decoder", [SSEDecoder, JSONLinesDecoder])
def test_nothing_has_no_events(decoder: Callable[[], Decoder]) -> None:
    assert decode(decoder()) == []
    assert decode(decoder(), b"", b"") == []


def test_a_long_line_in_many_pieces_costs_its_length_once() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"data: ")
    for _ in range(20_000):
        assert decoder.feed(b"x" * 1000) == []

    (event,) = decoder.feed(b"\n\n")
    assert len(event.data) == 20_000_000
