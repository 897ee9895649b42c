"""`teola fusion-check` over the tiny model and two short questions."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from backends.fusion_profile import load
from teola.fusion_check import check as checks
from teola.fusion_check.check import Losses, Settings, journal_path
from teola.fusion_check.questions import Question

PASSAGES = ("The sea is deep and cold here.", "A bell rang twice; nobody came.", "Odd, he said.")
QUESTIONS = (Question("What rang?", PASSAGES), Question("What is deep?", PASSAGES[::-1]))
ALL = "lego(99)"  # computes every token again


@pytest.fixture
def url(tiny_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))
    monkeypatch.setenv("TEOLA_NATIVE", "0")
    return f"local:{tiny_folder()}"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions that the tiny model's context takes."""

    def read(most: int) -> Sequence[Question]:
        return QUESTIONS[:most]

    monkeypatch.setattr("teola.fusion_check.questions.read_questions", read)


@pytest.mark.usefixtures("short")
def test_the_command_shows_a_table_and_keeps_a_profile(url: str, teola: Callable[..., Any]) -> None:
    done = teola("fusion-check", url, "--plan", ALL, "--floor", "0.2")
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines()]
    assert [row[0] for row in rows if row and row[0] in ("reuse", ALL)] == ["reuse", ALL]
    assert "refused: R below 0.2" in done.out
    assert "kept in " in done.err
    profile = load(url)
    assert profile is not None
    assert profile.floor == 0.2
    assert set(profile.plans) == {"reuse", ALL}
    assert not journal_path(url).exists()


@pytest.mark.usefixtures("short")
def test_the_command_prints_its_profile_as_json(url: str, teola: Callable[..., Any]) -> None:
    done = teola("fusion-check", url, "--plan", "lego(4)", "--questions", "2", "--json")
    found = json.loads(done.out)
    profile = load(url)
    assert profile is not None
    assert found == profile.model_dump()


@pytest.mark.usefixtures("short")
def test_ctrl_c_says_that_nothing_is_lost(
    url: str, teola: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stopped(settings: Settings, on_loss: Callable[[], None]) -> Losses:
        on_loss()
        raise KeyboardInterrupt

    monkeypatch.setattr(checks, "check", stopped)
    done = teola("fusion-check", url)
    assert done.code == 130
    assert "the same command goes on from there" in done.err
    assert load(url) is None


def test_a_plan_that_there_is_not_is_named(url: str, teola: Callable[..., Any]) -> None:
    done = teola("fusion-check", url, "--plan", "fastest")
    assert done.code == 1
    assert "fastest" in done.err
