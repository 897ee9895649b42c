"""Pages of runs: each run once, the newest first, whatever else comes and goes."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

import pytest

from runtime.run_store.database import RunDatabase
from runtime.run_store.pages import Cursor, Page
from runtime.run_store.rows import NodeRow, NodeState, RunRow, RunState
from runtime.run_store.served import ServedRuns
from runtime.run_store.served_pages import ServedPages, State
from runtime.run_store.store import RunStore
from runtime.run_store.values import encode

ASKS = NodeRow(b"k", "0", "call", "ask", b"", NodeState.WAITING, encode(["Really?", None]), 1.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    store = RunStore(tmp_path)
    yield store
    store.close()


def put(store: RunStore, number: int, state: RunState, *nodes: NodeRow, app: str = "app") -> str:
    """A run; three of them begin at once."""
    row = RunRow(f"r{number:03}", app, "", b"large" * 100, "{}", "", float(number // 3))
    store.begin(row, is_served=True).result()
    for node in nodes:
        store.writer.put(row.id, node)
    if state != "running":
        store.end(row.id, state, 9.0).result()
    return row.id


def pages(
    store: RunStore, most: int, state: State | Literal["all"] | None, app: str | None = None
) -> list[list[str]]:
    """The ids of all pages."""
    found: list[list[str]] = []
    after: Cursor | None = None
    while rows := ServedPages(store).read(Page(most, after, app), state).result():
        assert all(each.run.row.arguments == b"" for each in rows)
        found.append([each.run.row.id for each in rows])
        last = rows[-1].run.row
        after = Cursor(last.began_s, last.id)
    return found


@pytest.mark.parametrize("most", [1, 2, 5, 100])
def test_every_run_is_on_one_page_the_newest_first(store: RunStore, most: int) -> None:
    ids = [put(store, number, "interrupted") for number in range(8)][::-1]
    assert [*chain(*pages(store, most, None))] == ids
    assert [len(page) for page in pages(store, most, None)][:-1] == [most] * (7 // most)


def test_a_page_has_the_runs_in_one_state(store: RunStore) -> None:
    ends: dict[str, str] = {}
    waits = [put(store, number, "waiting", ASKS) for number in range(6)]
    answered = put(store, 6, "waiting")  # and nobody went on with it
    stopped = put(store, 7, "interrupted")
    running = [put(store, 8, "running"), put(store, 9, "running", app="other")]
    for number, status in enumerate(("completed", "failed", "cancelled"), 10):
        ends[status] = put(store, number, "finished")
        ServedRuns(store).answer(ends[status], b"{}", status, b"in a list").result()

    def listed(state: State | Literal["all"] | None, app: str | None = None) -> list[str]:
        return [*chain(*pages(store, 2, state, app))]

    assert listed("waiting") == waits[::-1]
    assert listed("interrupted") == [stopped, answered]
    assert listed("running") == running[::-1]
    assert listed("running", "other") == [running[1]]
    assert {status: listed(status) for status in ("completed", "failed", "cancelled")} == {
        status: [run] for status, run in ends.items()
    }
    opened = [*running[::-1], stopped, answered, *waits[::-1]]
    assert listed(None) == opened
    assert listed("all") == [*reversed(ends.values()), *opened]
    (one,) = ServedPages(store).read(Page(1), "failed").result()
    assert one.end == b"in a list"
    ServedRuns(store).answer(ends["failed"], b"").result()
    assert listed("failed") == []


def test_ends_that_an_earlier_version_wrote_are_listed(store: RunStore) -> None:
    states: tuple[RunState, ...] = ("finished", "failed", "interrupted")
    ids = [put(store, number, state) for number, state in enumerate(states)]
    for each in ids:
        ServedRuns(store).answer(each, b'{"id": 1}', "new", b"new").result()

    def work(database: RunDatabase) -> None:
        with database.transaction() as db:
            db.execute("DELETE FROM ends")

    store.writer.do(work).result()
    found = [ServedPages(store).read(Page(9), state).result() for state in STATES]
    assert [[each.run.row.id for each in one] for one in found] == [[each] for each in ids]
    assert found[0][0].end == b'{"id": 1}'


STATES: tuple[State, ...] = ("completed", "failed", "cancelled")


def test_a_page_goes_on_where_its_last_run_was_deleted(store: RunStore) -> None:
    ids = [put(store, number, "interrupted") for number in range(6)][::-1]
    last = ServedPages(store).read(Page(2), None).result()[-1].run.row
    store.delete([last.id])
    put(store, 7, "interrupted")
    following = Page(9, Cursor(last.began_s, last.id))
    found = ServedPages(store).read(following, None).result()
    assert [each.run.row.id for each in found] == ids[2:]
    assert [each.id for each in store.page(following, "interrupted")] == ids[2:]
    assert store.page(following, "crashed") == []
