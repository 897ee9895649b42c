import enum
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from teola.cli.values import default_text, reader_of


class Tone(enum.Enum):
    DRY = "dry"
    WARM = "warm"


class Style(BaseModel):
    words: int = 30


@dataclass(frozen=True)
class Place:
    x: int


@pytest.mark.parametrize(
    ("type_", "word", "value"),
    [
        (str, "a b", "a b"),
        (int, "-3", -3),
        (float, "2.5", 2.5),
        (int | None, "3", 3),
        (Literal["en", 2], "2", 2),
        (Tone, "warm", Tone.WARM),
        (Path, "a/b", Path("a/b")),
        (Style, '{"words": 5}', Style(words=5)),
        (Place, '{"x": 5}', Place(5)),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Style | None, "{}", Style()),
    ],
)
def test_a_word_becomes_a_value_of_the_type(type_: Any, word: str, value: Any) -> None:
    assert reader_of(type_).read(word) == value


@pytest.mark.parametrize(
    ("type_", "word", "message"),
    [
        (int, "many", "'many' is no int"),
        (float, "x", "'x' is no float"),
        (Tone, "wet", "'wet' is none of dry, warm"),
        (Literal["en", "de"], "fr", "'fr' is none of en, de"),
        (Style, '{"words": "x"}', "words: Input should be a valid integer"),
        (Style, "{", "Invalid JSON"),
        (list[int], "x", "'x' is no int"),
    ],
)
def test_a_wrong_word_says_what_it_is_not(type_: Any, word: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        reader_of(type_).read(word)
    assert message in str(caught.value)


def test_a_model_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "style.json").write_text('{"words": 7}')

    assert reader_of(Style).read(f"@{tmp_path / 'style.json'}") == Style(words=7)


def test_a_text_may_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe"))

    assert reader_of(str).read("-") == "from a pipe"


@pytest.mark.parametrize("type_", [list[str], tuple[str, ...], set[str], list[str] | None])
def test_collections_take_many_words(type_: Any) -> None:
    assert reader_of(type_).is_list


def test_a_bool_is_a_flag() -> None:
    assert reader_of(bool).is_flag


@pytest.mark.parametrize(
    ("value", "text"),
    [(Tone.DRY, "dry"), ("en", "en"), ("", '""'), (3, "3"), (None, "null"), (False, "false")],
)
def test_a_default_is_shown_as_one_would_type_it(value: Any, text: str) -> None:
    assert default_text(value) == text
