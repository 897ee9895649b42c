"""Stop strings across pieces; what is shown is never taken back."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backends.llm.finish import cut_at_text
from backends.llm.stop import StopScanner

PIECES = st.lists(st.text(alphabet="abc", max_size=3), max_size=12)
STOPS = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3)


@given(pieces=PIECES, stops=STOPS)
def test_the_shown_text_ends_before_the_first_stop_string(
    pieces: list[str], stops: list[str]
) -> None:
    scanner = StopScanner(stops)
    shown, read = "", ""
    for piece in pieces:
        shown += scanner.push(piece)
        read += piece
        if scanner.is_stopped:
            break
    shown += scanner.flush()
    found = [at for stop in stops if (at := read.find(stop)) >= 0]
    assert scanner.is_stopped == bool(found)
    assert shown == (read[: min(found)] if found else read)


def test_a_stop_string_in_parts_is_never_shown() -> None:
    scanner = StopScanner(["\n\nUser:"])
    shown = [scanner.push(piece) for piece in ("Yes.", "\n", "\nUs", "er", ": hi")]
    assert shown == ["Yes.", "", "", "", ""]
    assert scanner.is_stopped


def test_text_that_only_looked_like_a_stop_string_comes_late() -> None:
    scanner = StopScanner(["END"])
    assert [scanner.push(piece) for piece in ("E", "N", "Z", "E")] == ["", "", "ENZ", ""]
    assert scanner.flush() == "E"


def test_decode_stops_and_its_context_holds_exactly_the_text(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(None, "abc")
    free = driver.decode(context, max_tokens=40)
    text = free.outputs[0]
    stop = next(text[i : i + 2] for i in range(8, len(text)) if text[i : i + 2].isascii())
    pieces: list[str] = []
    result = driver.decode(context, max_tokens=40, stop=[stop], emit=pieces.append)
    assert result.finish_reason == "stop"
    assert result.outputs[0] == text[: text.index(stop)] == "".join(pieces)
    kept = result.outputs[1].ids[3:]
    assert tiny.tokenizer.decode(kept) == result.outputs[0]
    # and generation can go on from there
    longer = driver.prefill(result.outputs[1], stop)
    assert longer.ids == [*context.ids, *kept, *tiny.tokenizer.encode_text(stop)]
    driver.decode(longer, max_tokens=3)


def test_a_token_split_by_the_cut_is_encoded_again(tiny: Any) -> None:
    ids = tiny.tokenizer.encode_text("aé")  # é is two tokens
    assert cut_at_text(ids, "aé", tiny.tokenizer).num_same == 3
    assert cut_at_text(ids, "a", tiny.tokenizer).num_same == 1
    assert cut_at_text(ids, "", tiny.tokenizer).num_same == 0
