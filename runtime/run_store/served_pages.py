"""Pages of the runs of services: by what their clients are told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal

from runtime.run_store.database import RunDatabase
from runtime.run_store.pages import Page, Where, read_page
from runtime.run_store.rows import RunRow, RunState
from runtime.run_store.served import ASKED, ServedRun, read_served
from runtime.run_store.store import RunStore

State = Literal["running", "waiting", "interrupted", "completed", "failed", "cancelled"]
_HERE = "EXISTS (SELECT 1 FROM served WHERE served.run = id)"  # by date, until the page is full
_OPEN = "EXISTS (SELECT 1 FROM served WHERE served.run = id AND answer = x'')"
_ENDED = f"({_HERE} AND NOT {_OPEN})"
_WAITS = f"(state = 'waiting' AND EXISTS ({ASKED}))"
_END = (  # an earlier version did not write it
    "COALESCE((SELECT status FROM ends WHERE ends.run = id), CASE state WHEN 'finished' THEN "
    "'completed' WHEN 'failed' THEN 'failed' ELSE 'cancelled' END)"
)
_WHERE: Mapping[State | Literal["all"] | None, str] = {
    None: _OPEN,
    "all": _HERE,
    "running": f"state = 'running' AND {_OPEN}",
    "interrupted": f"id IN (SELECT run FROM served WHERE answer = x'') AND NOT {_WAITS}",
    "waiting": f"{_OPEN} AND {_WAITS}",
}


@dataclass(frozen=True, slots=True)
class ServedListed:
    """A run in a list; `end` is what the service wrote for lists when it ended, empty where it has
    no answer."""

    run: ServedRun
    end: bytes


class ServedPages:
    """Any thread may call; the work is done on that of the store."""

    def __init__(self, store: RunStore) -> None:
        self._store = store

    def read(self, page: Page, state: State | Literal["all"] | None) -> Future[list[ServedListed]]:
        """Those in one state, or all; None: those without an answer."""

        def chosen(rows: Sequence[RunRow]) -> list[bool]:
            if state not in ("running", "interrupted"):
                return [True] * len(rows)
            found = self._store.states_of(rows)
            return [(each == "running") == (state == "running") for each in found]

        def work(database: RunDatabase) -> list[ServedListed]:
            rows = read_page(database, page, chosen, _where(state))
            states = self._store.states_of(rows)
            return [_listed(database, *each) for each in zip(rows, states, strict=True)]

        return self._store.writer.look(work)


def _listed(database: RunDatabase, row: RunRow, state: RunState) -> ServedListed:
    end = _end_of(database, row.id)
    return ServedListed(read_served(database, row, state, end), end)


def _where(state: State | Literal["all"] | None) -> Where:
    found = _WHERE.get(state)
    return (found, ()) if found else (f"{_ENDED} AND {_END} = ?", (state,))


def _end_of(database: RunDatabase, run_id: str) -> bytes:
    """Where an earlier version wrote the answer, that."""
    query = (
        "SELECT COALESCE((SELECT listed FROM ends WHERE ends.run = served.run), answer) "
        "FROM served WHERE run = ? AND answer != x''"
    )
    return next((end for (end,) in database.read(query, (run_id,))), b"")
