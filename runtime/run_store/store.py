"""A folder of runs: begins and ends them, gives them to one process at a time, lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from backends.base import Result
from runtime.errors import RunInUse, RunNotFound
from runtime.run_store.database import RunDatabase
from runtime.run_store.engine_numbers import EngineNumbers, Engines, EnginesByOrder
from runtime.run_store.outcomes import encode_result
from runtime.run_store.owners import Owner
from runtime.run_store.pages import Cursor, Page, Where, read_page
from runtime.run_store.questions import (
    GivenAnswer,
    Question,
    check_name,
    question_of,
    told,
    told_of_open,
)
from runtime.run_store.rows import NodeRow, NodeState, RunRow, RunState, RunSummary
from runtime.run_store.stored_run import InDoubt, StoredRun
from runtime.run_store.writer import Writer

MOST_AT_ONCE = 64 * 2**20  # bytes of values that a run which goes on reads beforehand


def _in_state(state: RunState | None) -> Where:
    """As the file can tell it, which knows of no process whether it lives."""
    if state is None:
        return "1", ()
    return ("owner != ''", ()) if state in ("running", "crashed") else ("state = ?", (state,))


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that this process works on from now on."""

    row: RunRow
    before: RunRow  # as it was
    run: StoredRun
    answers: Sequence[GivenAnswer]  # that somebody gave, the first first


class RunStore:
    """One folder, as this process uses it. Any thread may call; the work is the writer's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = RunDatabase(folder)
        self._owner = Owner(folder)
        self.writer = Writer(self._database)
        self._running: set[str] = set()  # ids of the runs of this process

    def check(self) -> Future[None]:
        """Raises RunStoreFailed for a folder that cannot be written."""

        def work(database: RunDatabase) -> None:
            with database.transaction() as db:
                db.execute("UPDATE served SET sum = sum WHERE 0")
            self._owner.take()

        return self.writer.do(work)

    def begin(self, run: RunRow, *, is_served: bool = False) -> Future[StoredRun]:
        """Write a new run down, as this process's own; one of a service may be asked for there."""

        def work(database: RunDatabase) -> StoredRun:
            database.begin(replace(run, owner=self._owner.take()), is_served=is_served)
            self._running.add(run.id)
            return StoredRun(run.id, self.writer)

        return self.writer.do(work)

    def claim(
        self, run_id: str, in_doubt: InDoubt = "stop", *, has_other_engines: bool = False
    ) -> Future[Claimed]:
        """Take a run that no living process works on; `has_other_engines`: one that it has not
        asked may be in the place of one that it has. Raises RunNotFound, RunInUse."""

        def work(database: RunDatabase) -> Claimed:
            before, row = self._take(database, run_id)
            rows = database.nodes(run_id, MOST_AT_ONCE)
            engines: Engines = EnginesByOrder()
            if row.objective:  # written by a version that keeps engines
                engines = EngineNumbers(database.engines(run_id), may_replace=has_other_engines)
            run = StoredRun(run_id, self.writer, rows, in_doubt, row.due_s, engines)
            return Claimed(row, before, run, database.answers(run_id))

        return self.writer.do(work)

    def _take(self, database: RunDatabase, run_id: str) -> tuple[RunRow, RunRow]:
        self._there(database, run_id)
        with database.transaction() as db:
            row = self._there(database, run_id)
            self._check_free(row)
            if row.owner and row.owner != self._owner.name:
                self._owner.forget(row.owner)
            taken = replace(row, state="running", ended_s=None, owner=self._owner.take())
            query = "UPDATE runs SET state = ?, ended_s = NULL, error = '', owner = ? WHERE id = ?"
            db.execute(query, (taken.state, taken.owner, run_id))
        self._running.add(run_id)
        return row, taken

    def _there(self, database: RunDatabase, run_id: str) -> RunRow:
        row = database.run(run_id) if database.exists else None
        if row is None:
            raise RunNotFound(
                f"there is no run {run_id!r} in {self.folder}; `teola runs --runs FOLDER` lists "
                "those of a folder"
            )
        return row

    def _check_free(self, row: RunRow) -> None:
        if self.is_running(row):
            raise RunInUse(f"run {row.id} is running; wait for it, or stop its process")

    def give_back(self, claimed: Claimed) -> Future[None]:
        """A run that did not go on is as it was before it was claimed."""
        before = claimed.before
        state: RunState = "interrupted" if before.state == "running" else before.state
        return self.end(before.id, state, before.ended_s, before.error)

    @property
    def has_running(self) -> bool:
        """Whether a run of this process has not ended."""
        return bool(self._running)

    def drop(self, run_id: str) -> Future[None]:
        """Forget a run of this process which never began."""
        self._running.discard(run_id)
        return self.writer.do(lambda database: database.delete([run_id]))

    def end(
        self, run_id: str, state: RunState, ended_s: float | None, error: str = ""
    ) -> Future[None]:
        """It ended here, and may be claimed again."""
        self._running.discard(run_id)
        return self.writer.do(lambda database: database.end(run_id, state, ended_s, error))

    def summaries(self) -> list[RunSummary]:
        """All runs, the latest first. A folder that is not there has none and is not made."""
        if not self._database.exists:
            return []
        return self.writer.look(self._summaries).result()

    def _summaries(self, database: RunDatabase) -> list[RunSummary]:
        return self._summed(database, database.runs())

    def page(self, page: Page, state: RunState | None = None) -> list[RunSummary]:
        """The runs of a page, of those in a state, without their arguments. A folder that is not
        there has none and is not made."""

        def chosen(rows: Sequence[RunRow]) -> list[bool]:
            return [state in (None, found) for found in self.states_of(rows)]

        def work(database: RunDatabase) -> list[RunSummary]:
            rows = read_page(database, page, chosen, _in_state(state))
            return self._summed(database, rows, [row.id for row in rows])

        return self.writer.look(work).result() if self._database.exists else []

    def cursor(self, run_id: str) -> Cursor:
        """Behind that run. Raises RunNotFound."""

        def work(database: RunDatabase) -> Cursor:
            row = self._there(database, run_id)
            return Cursor(row.began_s, row.id)

        return self.writer.look(work).result()

    def _summed(
        self, database: RunDatabase, runs: Sequence[RunRow], ids: Sequence[str | None] = (None,)
    ) -> list[RunSummary]:
        sizes: dict[str, tuple[int, int]] = {}
        opened: list[tuple[str, NodeRow]] = []
        for run_id in ids:
            sizes |= database.sizes(run_id)
            opened += database.open_nodes(run_id)
        questions = told_of_open(opened)
        return [
            RunSummary(run, state, *sizes.get(run.id, (0, 0)), questions.get(run.id, ""))
            for run, state in zip(runs, self.states_of(runs), strict=True)
        ]

    def summary(self, run_id: str) -> RunSummary:
        """One run. Raises RunNotFound."""

        def work(database: RunDatabase) -> RunSummary:
            row = self._there(database, run_id)
            return self._summed(database, [row], [run_id])[0]

        return self.writer.look(work).result()

    def named(self, beginning: str) -> str:
        """The id that begins so; what was given where none or several do."""

        def work(database: RunDatabase) -> str:
            query = "SELECT id FROM runs WHERE substr(id, 1, ?) = ? LIMIT 2"
            found = database.read(query, (len(beginning), beginning)) if database.exists else []
            return str(found[0][0]) if len(found) == 1 and beginning else beginning

        return self.writer.look(work).result()

    def questions(self, run_id: str) -> list[Question]:
        """What a run waits for, the oldest first."""

        def work(database: RunDatabase) -> list[Question]:
            nodes = [node for _, node in database.open_nodes(run_id)]
            return [question_of(node) for node in nodes if node.state is NodeState.WAITING]

        return self.writer.look(work).result()

    def answers(self, run_id: str) -> list[GivenAnswer]:
        """What was answered in a run, the first first."""
        return self.writer.look(lambda database: database.answers(run_id)).result()

    def nodes(self, run_id: str) -> list[NodeRow]:
        """The primitives of a run, without their values."""
        return self.writer.look(lambda database: database.nodes(run_id)).result()

    def states_of(self, runs: Sequence[RunRow]) -> list[RunState]:
        """On the writer's thread, as `is_running`; each process is looked at once."""
        is_alive = cache(self._owner.is_alive)

        def state(run: RunRow) -> RunState:
            is_dead = run.owner and not self._is_running(run, is_alive)
            return "crashed" if is_dead else run.state

        return [*map(state, runs)]

    def is_running(self, run: RunRow) -> bool:
        """Whether a living process works on it."""
        return self._is_running(run, self._owner.is_alive)

    def _is_running(self, run: RunRow, is_alive: Callable[[str], bool]) -> bool:
        if run.owner == self._owner.name:  # one whose end could not be written is free
            return run.id in self._running
        return is_alive(run.owner)

    def answer(
        self,
        run_id: str,
        value: Any,
        question: str | None = None,
        *,
        when_s: float,
        by: str = "",
    ) -> Future[str]:
        """Answer the question of that id, or the oldest, that a run waits for; what was asked. `by`
        names who answers, now. Raises RunNotFound, RunInUse, WrongAnswer, ConfigError."""
        check_name(by)

        def work(database: RunDatabase) -> str:
            self._check_free(self._there(database, run_id))
            waiting = [
                node
                for _, node in database.open_nodes(run_id)
                if node.state is NodeState.WAITING and question in (None, question_of(node).id)
            ]
            if not waiting:
                which = "no approval" if question is None else f"no answer to question {question}"
                raise RunNotFound(f"run {run_id} waits for {which}")
            asked = question_of(waiting[0])
            asked.check(value)
            result = encode_result(Result((value,)))
            row = replace(waiting[0], state=NodeState.DONE, value=result)
            given = GivenAnswer(asked.id, asked.question, value, by, when_s)
            database.answer(run_id, row, given)
            return told(waiting[0])

        return self.writer.do(work)

    def delete(self, run_ids: Sequence[str]) -> None:
        """Forget runs. Raises RunNotFound, RunInUse."""

        def work(database: RunDatabase) -> None:
            for run_id in run_ids:
                self._check_free(self._there(database, run_id))
            database.delete(run_ids)

        self.writer.do(work).result()

    def close(self) -> None:
        self.writer.close()
        self._owner.close()
