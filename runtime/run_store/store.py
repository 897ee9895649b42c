"""A folder of runs: begins and ends them, gives them to one process at a time, lists them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.errors import RunInUse, RunNotFound
from runtime.run_store.database import RunDatabase
from runtime.run_store.owners import Owner
from runtime.run_store.rows import NodeRow, NodeState, RunRow, RunState, RunSummary
from runtime.run_store.stored_run import InDoubt, StoredRun
from runtime.run_store.values import NotStorable, decode
from runtime.run_store.writer import Writer

MOST_AT_ONCE = 64 * 2**20  # bytes of values that a run which goes on reads beforehand
_KEPT_QUESTION = 200  # characters of it in a list


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that this process works on from now on."""

    row: RunRow
    run: StoredRun


class RunStore:
    """One folder, as this process uses it. Any thread may call; the work is the writer's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = RunDatabase(folder)
        self._owner = Owner(folder)
        self._writer = Writer(self._database)
        self._running: set[str] = set()  # ids of the runs of this process

    def begin(self, run: RunRow) -> Future[StoredRun]:
        """Write a new run down, as this process's own."""

        def work(database: RunDatabase) -> StoredRun:
            database.begin(replace(run, owner=self._owner.take()))
            self._running.add(run.id)
            return StoredRun(run.id, self._writer)

        return self._writer.do(work)

    def claim(self, run_id: str, in_doubt: InDoubt = "stop") -> Future[Claimed]:
        """Take a run that no living process works on. Raises RunNotFound, RunInUse."""

        def work(database: RunDatabase) -> Claimed:
            row = self._take(database, run_id)
            rows = database.nodes(run_id, MOST_AT_ONCE)
            return Claimed(row, StoredRun(run_id, self._writer, rows, in_doubt))

        return self._writer.do(work)

    def _take(self, database: RunDatabase, run_id: str) -> RunRow:
        self._check_there(database, run_id)
        with database.transaction() as db:
            row = database.run(run_id)
            assert row is not None, "it was there, and nobody else writes"
            self._check_free(row)
            if row.owner and row.owner != self._owner.name:
                self._owner.forget(row.owner)
            taken = replace(row, state="running", ended_s=None, owner=self._owner.take())
            query = "UPDATE runs SET state = ?, ended_s = NULL, error = '', owner = ? WHERE id = ?"
            db.execute(query, (taken.state, taken.owner, run_id))
        self._running.add(run_id)
        return taken

    def _check_there(self, database: RunDatabase, run_id: str) -> None:
        if not database.exists or database.run(run_id) is None:
            raise RunNotFound(
                f"there is no run {run_id!r} in {self.folder}; `teola runs --runs FOLDER` lists "
                "those of a folder"
            )

    def _check_free(self, row: RunRow) -> None:
        if self._is_running(row):
            raise RunInUse(f"run {row.id} is running; wait for it, or stop its process")

    def end(self, run_id: str, state: RunState, ended_s: float, error: str = "") -> Future[None]:
        """It ended here, and may be claimed again."""
        self._running.discard(run_id)
        return self._writer.do(lambda database: database.end(run_id, state, ended_s, error))

    def summaries(self) -> list[RunSummary]:
        """All runs, the latest first. A folder that is not there has none and is not made."""
        if not self._database.exists:
            return []
        return self._writer.do(self._summaries).result()

    def _summaries(self, database: RunDatabase) -> list[RunSummary]:
        sizes = database.sizes()
        questions = _questions(database.open_nodes())
        runs = database.runs()
        return [
            RunSummary(run, self._state(run), *sizes.get(run.id, (0, 0)), questions.get(run.id, ""))
            for run in runs
        ]

    def summary(self, run_id: str) -> RunSummary:
        """One run. Raises RunNotFound."""
        self._writer.do(lambda database: self._check_there(database, run_id)).result()
        return next(each for each in self.summaries() if each.run.id == run_id)

    def nodes(self, run_id: str) -> list[NodeRow]:
        """The primitives of a run, without their values."""
        return self._writer.do(lambda database: database.nodes(run_id)).result()

    def _state(self, run: RunRow) -> RunState:
        return "crashed" if run.owner and not self._is_running(run) else run.state

    def _is_running(self, run: RunRow) -> bool:
        if run.owner == self._owner.name:  # one whose end could not be written is free
            return run.id in self._running
        return self._owner.is_alive(run.owner)

    def answer(self, run_id: str, value: bytes) -> str:
        """Answer what a run waits for; the question. Raises RunNotFound, RunInUse."""

        def work(database: RunDatabase) -> str:
            self._check_there(database, run_id)
            row = database.run(run_id)
            assert row is not None, "it was there"
            self._check_free(row)
            waiting = [
                node
                for run, node in database.open_nodes()
                if run == run_id and node.state is NodeState.WAITING
            ]
            if not waiting:
                raise RunNotFound(f"run {run_id} waits for no approval")
            database.put([(run_id, replace(waiting[0], state=NodeState.DONE, value=value))])
            return _question(waiting[0])

        return self._writer.do(work).result()

    def delete(self, run_ids: Sequence[str]) -> None:
        """Forget runs. Raises RunNotFound, RunInUse."""

        def work(database: RunDatabase) -> None:
            for run_id in run_ids:
                self._check_there(database, run_id)
                row = database.run(run_id)
                assert row is not None, "it was there"
                self._check_free(row)
            database.delete(run_ids)

        self._writer.do(work).result()

    def close(self) -> None:
        self._writer.close()
        self._owner.close()


def _questions(rows: Sequence[tuple[str, NodeRow]]) -> dict[str, str]:
    """By run what it waits for first; an answer to wait for comes before a doubt."""
    found: dict[str, str] = {}
    for run, row in sorted(rows, key=lambda each: each[1].state is NodeState.WAITING):
        found[run] = _question(row)
    return found


def _question(row: NodeRow) -> str:
    if row.state is not NodeState.WAITING:
        return f"{row.name} at %{row.place} began and did not end"
    try:
        question, *subject = decode(row.value)
    except (NotStorable, ValueError, TypeError):
        return f"{row.name} at %{row.place}"
    shown: list[Any] = [each for each in subject if each is not None]
    return ": ".join(map(str, [question, *shown]))[:_KEPT_QUESTION]
