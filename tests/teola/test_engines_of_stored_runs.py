"""Which of its models gave what a kept run goes on with."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from runtime.run_store.database import FILE
from teola.runner import AppRunner, chosen_runner

llm = tl.LLM("fake:")
broken: set[str] = set()  # what the tool refuses
order: list[str] = []  # in which the models are asked


@tl.tool(retries=1)
def step(text: str) -> str:
    if text in broken:
        raise ValueError(f"refused {text}")
    return text


@tl.prompt(llm)
def ask(topic: str) -> str:
    return f"What is {topic}?"


@tl.app
async def inner(topic: str) -> str:
    text = await tl.value(ask(topic))
    await tl.value(step("asked"))
    return text


@tl.app
async def compare(topic: str) -> dict[str, str]:
    found = {}
    for size in order:
        found[size] = await tl.value(inner.using(engines={"llm": f"fake:{size}"})(topic))
    await tl.value(step("compared"))
    return found


@tl.app
async def ask_and_step(topic: str) -> str:
    text = await tl.value(ask(topic))
    await tl.value(step("asked"))
    return text


@tl.app
async def only(topic: str) -> str:
    return await tl.value(ask(topic))


@tl.app
async def of_each(topic: str) -> list[str]:
    @tl.app
    def both(topic: str) -> list[str]:
        first, second = (only.using(engines={"llm": f"fake:{size}"}) for size in order)
        return tl.map(lambda part: [first(part), second(part)], [topic])[0]

    found = await tl.value(both(topic))
    await tl.value(step("all"))
    return found


@pytest.fixture(autouse=True)
def _runner() -> Iterator[None]:
    broken.clear()
    runner = AppRunner()
    with chosen_runner(runner):
        yield
        runner.close()


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


@contextmanager
def models(age: str) -> Iterator[None]:
    with (
        tl.fake(tl.LLM("fake:small"), lambda _: f"{age} small"),
        tl.fake(tl.LLM("fake:large"), lambda _: f"{age} large"),
        tl.fake(llm, lambda _: age),
    ):
        yield


def failed_id(app: Any, folder: str, at: str, *models_in_order: str) -> str:
    order[:] = models_in_order
    broken.add(at)
    with models("old"), pytest.raises(tl.errors.NodeFailed):
        app.using(runs=folder, memo=False)("tea")
    broken.clear()
    return tl.runs(folder)[0].id


def resumed(run_id: str, folder: str, *models_in_order: str, **given: Any) -> Any:
    order[:] = models_in_order
    with models("new"):
        return tl.resume(run_id, runs=folder, **given)


def test_models_that_are_asked_in_another_order_keep_their_own_answers(folder: str) -> None:
    run_id = failed_id(compare, folder, "compared", "small", "large")
    found = resumed(run_id, folder, "large", "small")
    assert found == {"small": "old small", "large": "old large"}


def test_a_model_that_was_not_asked_before_has_no_answers_of_another(folder: str) -> None:
    run_id = failed_id(compare, folder, "asked", "small", "large")
    found = resumed(run_id, folder, "large", "small")
    assert found == {"small": "old small", "large": "new large"}


def test_a_model_that_is_given_in_the_place_of_another_goes_on_with_its_answers(
    folder: str,
) -> None:
    run_id = failed_id(ask_and_step, folder, "asked")
    found = resumed(run_id, folder, app=ask_and_step, engines={"llm": "fake:small"})
    assert found == "old"


def test_a_model_that_nobody_gave_in_the_place_of_another_answers_itself(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = failed_id(ask_and_step, folder, "asked")
    monkeypatch.setattr(llm, "spec", tl.LLM("fake:small").spec)
    assert resumed(run_id, folder, app=ask_and_step) == "new"


def test_apps_inside_a_def_app_are_of_their_models(folder: str) -> None:
    run_id = failed_id(of_each, folder, "all", "small", "large")
    found = resumed(run_id, folder, "large", "small")
    assert [text.split()[1] for text in found] == ["large", "small"]


def test_engines_of_a_run_of_an_earlier_version_are_known_by_their_order(folder: str) -> None:
    run_id = failed_id(compare, folder, "asked", "small", "large")
    with sqlite3.connect(Path(folder, FILE)) as db:
        db.execute("DELETE FROM orders")
        db.execute("DELETE FROM engines")
    db.close()
    assert resumed(run_id, folder, "small", "large") == {"small": "old small", "large": "new large"}
