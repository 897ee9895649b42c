import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends import models
from backends.models import FetchProgress

Teola = Callable[..., Any]
NAME = "smollm2-135m"


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path / "cache"))


def test_the_list_says_what_is_not_fetched(teola: Teola) -> None:
    (line,) = [line for line in teola("models", "list").out.splitlines() if NAME in line]

    assert line.split()[:6] == [NAME, "llm", "98.4", "MB", "Apache-2.0", "no"]


def test_the_list_as_json_has_every_model(teola: Teola) -> None:
    listed = json.loads(teola("models", "list", "--json").out)

    assert [model["name"] for model in listed] == list(models.CATALOG)


def test_where_prints_the_path_of_a_fetched_model(
    teola: Teola, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teola.cli.models_command.locate", lambda name: Path("/m") / name)

    assert teola("models", "where", NAME).out == f"/m/{NAME}\n"


def test_where_of_a_model_that_is_not_fetched_says_how_to_fetch_it(teola: Teola) -> None:
    done = teola("models", "where", NAME)

    assert (done.code, done.out) == (1, "")
    assert f"teola models fetch {NAME}" in done.err


def test_fetch_prints_the_path_and_its_progress_apart(
    teola: Teola, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(name: str, progress: Callable[[FetchProgress], None]) -> Path:
        for done in (10, 20):
            progress(FetchProgress(name, done * 10**6, 20 * 10**6))
        return Path("/m") / name

    monkeypatch.setattr("teola.cli.models_command.fetch", fetch)
    done = teola("models", "fetch", NAME)

    assert done.out == f"/m/{NAME}\n"
    assert done.err == f"fetching {NAME}, 20.0 MB\n"


def test_an_unknown_model_is_refused_before_anything_is_fetched(
    teola: Teola, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    monkeypatch.setattr("teola.cli.models_command.fetch", lambda name, _: fetched.append(name))
    done = teola("models", "fetch", NAME, "no-such-model")

    assert done.code == 1
    assert "unknown model 'no-such-model'" in done.err
    assert fetched == []
