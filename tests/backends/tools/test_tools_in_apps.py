"""Tools that call apps whose tools run on the same engine."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import teola as tl
from teola.errors import QueryTimeout

NUM_ITEMS = 40


@tl.tool(pure=True)
def inner_tool(x: int) -> int:
    return x + 1


@tl.app
def inner(x: str) -> int:
    return inner_tool(x)


def call_inner(x: str) -> int:
    return inner(x)


async def await_inner(x: str) -> int:
    return await inner.arun(x)


sync_tool = tl.tool(pure=True, name="sync_tool")(call_inner)
async_tool = tl.tool(pure=True, name="async_tool")(await_inner)


@tl.app
def map_sync(items: list[int]) -> list[int]:
    return tl.map(lambda item: sync_tool(item), items)


@tl.app
def map_async(items: list[int]) -> list[int]:
    return tl.map(lambda item: async_tool(item), items)


@tl.tool(pure=True)
def call_map(items: list[int]) -> list[int]:
    return map_sync(items)


@tl.app
def three_deep(items: list[list[int]]) -> list[list[int]]:
    return tl.map(lambda some: call_map(some), items)


@pytest.mark.parametrize("app", [map_sync, map_async])
def test_many_tools_at_once_may_call_apps_that_call_tools(app: "tl.App") -> None:
    with ThreadPoolExecutor(1) as threads:  # a hang fails the test
        items = list(range(NUM_ITEMS))
        running = threads.submit(app.using(timeout_s=30), items)
        assert running.result(timeout=40) == [item + 1 for item in items]


def test_apps_within_tools_within_apps_within_tools() -> None:
    rows = [list(range(10))] * 10
    assert three_deep.using(timeout_s=30)(rows) == [[x + 1 for x in row] for row in rows]


def test_a_timed_out_tool_leaves_other_tools_working() -> None:
    @tl.tool(pure=True)
    def slow(x: int) -> int:
        time.sleep(1)
        return x

    @tl.app
    def stuck(items: list[int]) -> list[int]:
        return tl.map(lambda item: slow(item), items)

    with pytest.raises(QueryTimeout):
        stuck.using(timeout_s=0.1)(list(range(NUM_ITEMS)))
    began = time.monotonic()
    assert inner("x" and 1) == 2  # type: ignore[arg-type]
    assert time.monotonic() - began < 0.9
