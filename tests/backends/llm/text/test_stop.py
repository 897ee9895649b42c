"""Stop strings across pieces; what is shown is never taken back."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from backends.base import Tokens
from backends.llm.loader import open_model
from backends.llm.text.stop import StopScanner, cut_at_text

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


@pytest.fixture(scope="module")
def of_long_tokens(
    tiny: Any, tiny_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A tiny model of which a token may stand for "ab", "cd" or "abcd"."""
    folder = tmp_path_factory.mktemp("long_tokens") / "model"
    shutil.copytree(tiny_folder(), folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("a", "b"), ("c", "d"), ("ab", "cd")]
    words = [*alphabet, *(left + right for left, right in merges)]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    return type(tiny)(open_model(folder))


@pytest.mark.parametrize("page_size", [1, 2, 4, 16])
def test_generation_goes_on_from_a_cut_inside_a_token_as_from_a_cold_prompt(
    of_long_tokens: Any, page_size: int
) -> None:
    warm = of_long_tokens.driver(stops=False, page_size=page_size)
    (long,) = of_long_tokens.tokenizer.encode_text("abcd")
    context = warm.prefill(None, "a prompt of many pages ")
    cut = warm.decode(context, logit_bias={long: 1000.0}, stop=["da"], max_tokens=9)
    assert cut.outputs[0] == "abc"  # of "abcd" and "abcd"
    ids = cut.outputs[1].ids
    assert ids == [*context.ids, *of_long_tokens.tokenizer.encode_text("abc")]
    cold = of_long_tokens.driver(stops=False, page_size=page_size)
    expected = cold.decode(cold.prefill(None, Tokens(tuple(ids))), max_tokens=12)
    assert warm.decode(cut.outputs[1], max_tokens=12).outputs[1].ids == expected.outputs[1].ids
    again = warm.decode(warm.prefill(None, Tokens(tuple(ids))), max_tokens=12)  # of what it shares
    assert again.outputs[1].ids == expected.outputs[1].ids


def test_many_stop_strings_cost_no_more_than_one() -> None:
    """Counted by what the scanner compares, not by the clock: one search and one bisection."""
    many = StopScanner([f"{'a' * 200}{i}" for i in range(16)])
    assert [many.push("a") for _ in range(200)] == [""] * 200  # each may begin any of them
    assert many.push("b") == "a" * 200 + "b"
    assert StopScanner(["x", "y"])._stops is StopScanner(["x", "y"])._stops  # samples share one
