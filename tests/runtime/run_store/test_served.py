"""The runs of services in a folder: which have not ended."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.run_store import owners
from runtime.run_store.pages import Page
from runtime.run_store.rows import NodeRow, NodeState, RunRow, RunState
from runtime.run_store.served import ServedRuns
from runtime.run_store.served_pages import ServedPages
from runtime.run_store.store import RunStore
from runtime.run_store.values import encode

ASKS = NodeRow(b"k", "0", "call", "ask", b"", NodeState.WAITING, encode(["Really?", None]), 1.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    store = RunStore(tmp_path)
    yield store
    store.close()


def put(store: RunStore, run_id: str, state: RunState, *nodes: NodeRow) -> None:
    """A run; as old as there are runs before it."""
    given = encode([[], {"text": "x" * 1000}])
    row = RunRow(run_id, "app", "", given, "{}", "", float(len(store.summaries())))
    store.begin(row, is_served=True).result()
    for node in nodes:
        store.writer.put(run_id, node)
    if state != "running":
        store.end(run_id, state, 9.0).result()


def test_what_waits_for_a_person_is_not_unfinished(store: RunStore) -> None:
    for n in range(4):
        put(store, f"waits{n}", "waiting", ASKS)
    put(store, "stopped", "interrupted")
    put(store, "answered", "waiting")  # and nobody went on with it
    put(store, "here", "running")
    unfinished = ServedRuns(store).unfinished().result()
    assert [row.id for row in unfinished] == ["stopped", "answered"]
    assert all(row.arguments == b"" for row in unfinished)


def test_a_list_looks_once_at_each_process(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = RunStore(tmp_path)
    for n in range(20):
        put(other, f"r{n}", "running")
    looks: list[Path] = []

    def look(path: Path) -> bool:
        looks.append(path)
        return True

    monkeypatch.setattr(owners, "is_locked", look)
    found = ServedPages(store).read(Page(100), None).result()
    assert {each.run.state for each in found} == {"running"}
    assert {summary.state for summary in store.summaries()} == {"running"}
    assert ServedRuns(store).unfinished().result() == []
    assert len(looks) == 3 * 3  # three lists, and three looks before a process counts as alive
    monkeypatch.undo()
    other.close()
    assert len(ServedRuns(store).unfinished().result()) == 20
