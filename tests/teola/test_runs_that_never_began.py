"""Runs that were written down, or claimed, and whose app did not come to run: they are free."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from frontend_dsl.signature import ArgumentError
from runtime.run_store.database import RunDatabase
from runtime.run_store.store import RunStore
from teola.runner import AppRunner, chosen_runner

is_ready = threading.Event()


@tl.tool
def send(text: str) -> str:
    if not is_ready.is_set():
        raise ValueError("not ready")
    return f"sent {text}"


@tl.app
async def news(text: str) -> str:
    return await tl.value(send(text))


@tl.app
def traced(text: str) -> str:
    return send(text)


@pytest.fixture(autouse=True)
def _runner() -> Iterator[None]:
    is_ready.clear()
    runner = AppRunner()
    with chosen_runner(runner):
        yield
        runner.close()


class Held:
    """A method that waits, once it has begun."""

    def __init__(self, patch: pytest.MonkeyPatch, kind: type, name: str) -> None:
        self._begun, self._may_go_on = threading.Event(), threading.Event()
        real = getattr(kind, name)

        def held(*args: Any, **options: Any) -> Any:
            self._begun.set()
            assert self._may_go_on.wait(20)
            return real(*args, **options)

        patch.setattr(kind, name, held)

    async def cancelled_within(self, running: Any) -> None:
        """Cancel a task while the method works for it."""
        task = asyncio.ensure_future(running)
        assert await asyncio.to_thread(self._begun.wait, 20)
        task.cancel()
        await asyncio.wait((task,), timeout=0.05)
        self._may_go_on.set()
        await asyncio.wait((task,), timeout=20)
        assert task.cancelled()


def state_of(folder: Path) -> str:
    """Of the only run; "" while it is not written down yet."""
    runs = tl.runs(folder)
    assert len(runs) <= 1
    return runs[0].state if runs else ""


@pytest.mark.parametrize("app", [news, traced])
def test_one_that_is_cancelled_while_it_is_written_down_is_interrupted(
    app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, RunDatabase, "begin")
    asyncio.run(held.cancelled_within(app.using(runs=str(tmp_path)).arun("a")))
    while state_of(tmp_path) in ("", "running"):  # the writer's next work
        pass
    assert state_of(tmp_path) == "interrupted"
    is_ready.set()
    assert tl.resume(tl.runs(tmp_path)[0].id, runs=tmp_path, app=app) == "sent a"


def failed(app: Any, folder: Path) -> str:
    with pytest.raises(Exception, match="not ready"):
        app.using(runs=str(folder))("a")
    return str(tl.runs(folder)[0].id)


@pytest.mark.parametrize("app", [news, traced])
def test_a_resume_with_wrong_arguments_leaves_the_run_as_it_was(app: Any, tmp_path: Path) -> None:
    run_id = failed(app, tmp_path)
    (before,) = tl.runs(tmp_path)
    with pytest.raises(ArgumentError):
        tl.resume(run_id, runs=tmp_path, app=app, arguments={"wrong": 1})
    with pytest.raises(ArgumentError):
        asyncio.run(tl.aresume(run_id, runs=tmp_path, app=app, arguments={"wrong": 1}))
    assert tl.runs(tmp_path) == [before]
    is_ready.set()
    assert tl.resume(run_id, runs=tmp_path, app=app) == "sent a"


def test_a_resume_that_is_cancelled_while_it_claims_gives_the_run_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = failed(news, tmp_path)
    (before,) = tl.runs(tmp_path)
    with monkeypatch.context() as patch:
        held = Held(patch, RunStore, "_take")
        asyncio.run(held.cancelled_within(tl.aresume(run_id, runs=tmp_path, app=news)))
    assert tl.runs(tmp_path) == [before]
    is_ready.set()
    assert tl.resume(run_id, runs=tmp_path, app=news) == "sent a"


def test_a_run_whose_engines_are_not_there_is_free(tmp_path: Path) -> None:
    run_id = failed(news, tmp_path)
    with pytest.raises(Exception, match="nope"):
        tl.resume(run_id, runs=tmp_path, app=news, engines={"nope": "odd:"})
    is_ready.set()
    assert tl.resume(run_id, runs=tmp_path, app=news) == "sent a"
