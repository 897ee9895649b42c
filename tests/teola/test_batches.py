"""Many runs of an app: their bound, their order, their failures, and the bar that counts them."""

import asyncio
import threading
from typing import Any

import pytest

import teola as tl
from teola.errors import ArgumentError, NodeFailed

running = 0
most = 0
wanted = 0  # so many are waited for
lock = threading.Lock()


@tl.tool
async def work(number: int) -> int:
    global running, most
    with lock:
        running += 1
        most = max(most, running)
    async with asyncio.timeout(60):
        while most < wanted:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)  # one more than may would come now
    with lock:
        running -= 1
    if number == 3:
        raise ValueError("three")
    return 10 * number


@tl.app
def tens(numbers: list[int]) -> int:
    return work(numbers[0])


@tl.app
async def atens(numbers: list[int]) -> int:
    return await tl.value(work(numbers[0]))


CALLS = [{"numbers": [number]} for number in range(6)]
both = pytest.mark.parametrize("app", [tens, atens])


@pytest.fixture(autouse=True)
def _counted() -> None:
    global most, wanted
    most = wanted = 0


@both
def test_no_more_than_the_bound_run_at_once(app: Any) -> None:
    global wanted
    wanted = 2
    results = app.batch(CALLS, concurrency=2)
    assert most == 2
    assert [results[i] for i in (0, 1, 2, 4, 5)] == [0, 10, 20, 40, 50]
    assert isinstance(results[3], NodeFailed)
    wanted = 3
    app.batch(CALLS)
    assert most > 2


@both
def test_a_batch_can_be_awaited(app: Any) -> None:
    results = asyncio.run(app.abatch([*CALLS[:2], {"wrong": 1}], concurrency=1))
    assert results[:2] == [0, 10]
    assert isinstance(results[2], ArgumentError)
    assert most == 1


@both
def test_a_batch_is_of_calls_and_its_bound_a_count(app: Any) -> None:
    with pytest.raises(ArgumentError, match="takes a list of calls"):
        app.batch("abc")
    for bound in (0, True, 2.5):
        with pytest.raises(ArgumentError, match="concurrency= is how many run at once"):
            app.batch(CALLS, concurrency=bound)
    assert app.batch([], concurrency=3) == []


@both
def test_a_bar_on_stderr_counts_if_it_is_asked_for(
    app: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    app.batch(CALLS)
    assert capsys.readouterr().err == ""
    app.batch(CALLS, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "tens" in shown.err
    assert "6/6" in shown.err
    assert "1 failed" in shown.err


def test_a_cancelled_batch_stops_what_runs() -> None:
    begun, stopped = [], []

    @tl.tool
    async def forever(number: int) -> int:
        begun.append(number)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(number)
            raise
        return number

    @tl.app
    def app(numbers: list[int]) -> int:
        return forever(numbers[0])

    async def cancelled() -> None:
        task = asyncio.create_task(app.abatch(CALLS, concurrency=2))
        async with asyncio.timeout(60):
            while len(begun) < 2:
                await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    for _ in range(3000):
        if len(stopped) == 2:
            break
        threading.Event().wait(0.01)
    assert sorted(stopped) == [0, 1]
