"""The runs of services in a folder: what their clients are answered, and what they wait for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from runtime.run_store.database import SMALL_RUN, RunDatabase
from runtime.run_store.questions import GivenAnswer, Question, question_of
from runtime.run_store.rows import NodeState, RunRow, RunState
from runtime.run_store.store import RunStore

_OPEN = "FROM runs WHERE id IN (SELECT run FROM served WHERE answer = x'')"
ASKED = (  # the index of the open nodes holds what its own words find
    "SELECT 1 FROM nodes INDEXED BY open_nodes WHERE nodes.run = id AND nodes.state IN (1, 4, 5) "
    f"AND nodes.state = {int(NodeState.WAITING)}"
)
_UNFINISHED = f"(state != 'waiting' OR NOT EXISTS ({ASKED}))"
_TO_FORGET = (
    "SELECT id FROM runs JOIN served ON run = id WHERE answer != x'' ORDER BY ended_s DESC, id "
)


@dataclass(frozen=True, slots=True)
class ServedRun:
    """A run as the file has it."""

    row: RunRow
    state: RunState  # "crashed" where its process is gone
    answer: bytes  # empty while it has none
    questions: Sequence[Question]  # of one that waits, the oldest first
    answers: Sequence[GivenAnswer]  # that somebody gave, the first first
    num_done: int


class ServedRuns:
    """Any thread may call; the work is done on that of the store."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def find(self, run_id: str) -> Future[ServedRun | None]:
        """None where no service has begun such a run."""
        return self._store.writer.look(lambda database: self._found(database, run_id))

    def unfinished(self) -> Future[list[RunRow]]:
        """All runs without an answer that no process works on and that wait for nobody, the oldest
        first; without their arguments, which may be large."""

        def work(database: RunDatabase) -> list[RunRow]:
            query = f"SELECT {SMALL_RUN} {_OPEN} AND {_UNFINISHED} ORDER BY began_s, id"
            rows = [RunRow(*row) for row in database.read(query)]
            states = self._store.states_of(rows)
            return [row for row, state in zip(rows, states, strict=True) if state != "running"]

        return self._store.writer.look(work)

    def answer(
        self, run_id: str, answer: bytes, status: str = "", listed: bytes = b""
    ) -> Future[None]:
        """Keep what its clients are answered from now on, and with which status and body it is
        listed; empty: nothing, since it goes on."""

        def work(database: RunDatabase) -> None:
            with database.transaction() as db:
                query = "UPDATE served SET answer = ?, sum = ? WHERE run = ?"
                db.execute(query, (answer, _sum(run_id, answer), run_id))
                db.execute("DELETE FROM ends WHERE run = ?", (run_id,))
                if answer:
                    db.execute("INSERT INTO ends VALUES (?, ?, ?)", (run_id, status, listed))

        return self._store.writer.do(work)

    def prune(self, most: int | None, before_s: float | None) -> Future[int]:
        """Forget runs that have an answer: all but the latest `most`, and those that ended before
        a time; how many."""

        def work(database: RunDatabase) -> int:
            old = set[str]()
            if most is not None:
                old |= {run for (run,) in database.read(f"{_TO_FORGET} LIMIT -1 OFFSET ?", (most,))}
            if before_s is not None:
                query = _TO_FORGET.replace("ORDER", "AND ended_s < ? ORDER")
                old |= {run for (run,) in database.read(query, (before_s,))}
            free = [run for run in sorted(old) if self._is_free(database, run)]
            if free:
                database.delete(free)
            return len(free)

        return self._store.writer.do(work)

    def _is_free(self, database: RunDatabase, run_id: str) -> bool:
        row = database.run(run_id)
        return row is not None and not self._store.is_running(row)

    def _found(self, database: RunDatabase, run_id: str) -> ServedRun | None:
        kept = database.read("SELECT answer, sum FROM served WHERE run = ?", (run_id,))
        row = database.run(run_id)
        if not kept or row is None:
            return None
        ((answer, check),) = kept
        (state,) = self._store.states_of([row])
        return read_served(database, row, state, answer if check == _sum(run_id, answer) else b"")


def read_served(database: RunDatabase, row: RunRow, state: RunState, answer: bytes) -> ServedRun:
    """With what else is kept of a run."""
    num_done, _ = database.sizes(row.id).get(row.id, (0, 0))
    opened = [] if answer else database.open_nodes(row.id)
    waiting = [question_of(node) for _, node in opened if node.state is NodeState.WAITING]
    return ServedRun(row, state, answer, waiting, database.answers(row.id), num_done)


def _sum(run_id: str, answer: bytes) -> bytes:
    return hashlib.blake2b(run_id.encode() + b"\0" + answer, digest_size=8).digest()
