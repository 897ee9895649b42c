"""A runner that is closed leaves no thread and no file, and can be used again."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from runtime.errors import NodeFailed
from teola.background import BackgroundLoop
from teola.runner import AppRunner, chosen_runner

llm = tl.LLM("fake:", replies={"": "hi"})


@tl.prompt(llm)
def greet(name: str) -> str:
    return f"Greet {name}."


@tl.app
def hello(name: str) -> str:
    return greet(name)


@tl.app
async def twice(name: str) -> list[str]:
    first = await tl.value(greet(name))
    return [first, await tl.value(greet(f"{name}, {first}"))]


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def num_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def begun(work: Callable[[], Any]) -> threading.Thread:
    """A thread that has this test's runner too."""
    thread = threading.Thread(target=copy_context().run, args=(work,))
    thread.start()
    return thread


def wait_until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.fixture
def runner() -> Iterator[AppRunner]:
    """Of which every thread has ended when the test has."""
    before = threads()
    runner = AppRunner()
    with chosen_runner(runner):
        yield runner
    runner.close()
    wait_until(lambda: threads() <= before)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of open files")
def test_a_closed_runner_leaves_no_thread_and_no_file(runner: AppRunner) -> None:
    before, files = threads(), num_files()
    for _ in range(3):
        assert hello("Ada") == "hi"
        assert twice("Ada") == ["hi", "hi"]
        assert len(threads() - before) >= 2
        runner.close()
        wait_until(lambda: threads() <= before)
        wait_until(lambda: num_files() <= files)


def test_a_runner_that_ran_nothing_is_closed_twice(runner: AppRunner) -> None:
    runner.close()
    runner.close()


def test_a_runner_is_closed_on_a_callers_loop_and_runs_on_another(runner: AppRunner) -> None:
    async def once() -> Any:
        said = [await hello.arun("Ada"), await twice.arun("Ada")]
        await runner.aclose()
        return said

    for _ in range(2):
        assert asyncio.run(once()) == ["hi", ["hi", "hi"]]


def test_two_threads_close_a_runner_at_once(runner: AppRunner) -> None:
    for _ in range(5):
        hello("Ada")
        both = [begun(runner.close) for _ in range(2)]
        for thread in both:
            thread.join(20)
            assert not thread.is_alive()


def test_apps_that_run_while_others_close_the_runner_end(runner: AppRunner) -> None:
    def ask() -> None:
        for each in range(10):
            try:
                ended.append(hello("Ada") if each % 2 else twice("Ada"))
            except NodeFailed as error:
                ended.append(error)

    ended: list[Any] = []
    askers = [begun(ask) for _ in range(3)]
    while any(thread.is_alive() for thread in askers):
        runner.close()
    assert len(ended) == 30
    assert all("was closed" in str(one) for one in ended if isinstance(one, NodeFailed))


def test_an_app_that_closes_its_runner_ends(runner: AppRunner) -> None:
    @tl.app
    async def closes() -> str:
        first = await tl.value(greet("Ada"))
        runner.close()
        return first

    assert closes() == "hi"
    assert hello("Ada") == "hi"


def test_a_tool_on_the_engines_loop_is_told_to_await_the_end(runner: AppRunner) -> None:
    @tl.tool
    async def close() -> str:
        try:
            runner.close()
        except RuntimeError as error:
            return str(error)
        return "closed"

    @tl.app
    def app() -> str:
        return close()

    assert "would wait for itself" in app()


def test_an_app_ends_by_itself_on_a_runner_that_is_closed_meanwhile(runner: AppRunner) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    @tl.app
    async def waits() -> str:
        has_begun.set()
        await asyncio.to_thread(may_end.wait, 20)
        return "ended"

    said: list[str] = []
    thread = begun(lambda: said.append(waits()))
    assert has_begun.wait(20)
    runner.close()
    may_end.set()
    thread.join(20)
    assert said == ["ended"]


ENDS = """
import threading
import teola as tl
from teola.runner import default_runner

@tl.prompt(tl.LLM("fake:", replies={{"": "hi"}}))
def greet(name: str) -> str:
    return f"Greet {{name}}."

@tl.app
def ask(name: str) -> str:
    return greet(name)

print(ask("Ada"))
{closing}
"""
CLOSED = """
default_runner().close()
def start(self):
    raise RuntimeError("can't create new thread at interpreter shutdown")
threading.Thread.start = start  # as from Python 3.12 on
"""


@pytest.mark.parametrize("closing", ["", "default_runner().close()", CLOSED])
def test_a_process_ends_quietly_whether_its_runner_was_closed_or_not(closing: str) -> None:
    code = [sys.executable, "-W", "error", "-c", ENDS.format(closing=closing)]
    ended = subprocess.run(code, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "hi\n", "")


def test_runs_that_are_cancelled_as_the_runner_closes_are_written_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, has_begun, go_on = str(tmp_path / "runs"), threading.Semaphore(0), threading.Event()

    @tl.tool
    def hold(name: str) -> str:
        has_begun.release()
        go_on.wait(60)
        return name

    @tl.app
    async def held(name: str) -> str:
        return await tl.value(hold(name))

    runner, apps = AppRunner(), BackgroundLoop("apps")
    with chosen_runner(runner):
        try:
            runs = [apps.submit(held.using(runs=folder).arun(each)) for each in "abcde"]
            for _ in runs:
                has_begun.acquire(timeout=60)
            for run in runs:
                run.cancel()  # which does not wait for the app
            runner.close()
            assert [run.state for run in tl.runs(folder)] == ["interrupted"] * 5
        finally:
            go_on.set()
            runner.close()
            apps.close(5.0)
    assert not caplog.records
