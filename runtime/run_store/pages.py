"""Pages of the runs of a folder, the newest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from runtime.run_store.database import SMALL_RUN, RunDatabase
from runtime.run_store.rows import RunRow

_CHUNK = 100  # rows that are read at once where their state has to be looked at
_ORDER = "began_s DESC, id DESC"

Where = tuple[str, Sequence[Any]]  # a condition of SQL, and what it is given


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: its last run. That may be gone when the next page is asked for."""

    began_s: float
    id: str


@dataclass(frozen=True, slots=True)
class Page:
    """At most so many runs, those behind the cursor, those of one app."""

    most: int
    after: Cursor | None = None
    app: str | None = None

    @property
    def where(self) -> Where:
        """Which runs stand on this page or behind it."""
        found = "1"
        given: list[Any] = []
        if self.app is not None:
            found += " AND app = ?"
            given.append(self.app)
        if self.after is not None:
            found += " AND (began_s, id) < (?, ?)"
            given += [self.after.began_s, self.after.id]
        return found, given


def read_page(
    database: RunDatabase,
    page: Page,
    chosen: Callable[[Sequence[RunRow]], Sequence[bool]],
    where: Where = ("1", ()),
) -> list[RunRow]:
    """The runs of a page, without their arguments, which may be large: of those that are `where`
    the `chosen` ones."""
    return [*islice(_behind(database, page, chosen, where), page.most)]


def _behind(
    database: RunDatabase,
    page: Page,
    chosen: Callable[[Sequence[RunRow]], Sequence[bool]],
    where: Where,
) -> Iterator[RunRow]:
    while True:
        here, given = page.where
        query = f"SELECT {SMALL_RUN} FROM runs WHERE {where[0]} AND {here}"
        num = max(_CHUNK, page.most)
        read = database.read(f"{query} ORDER BY {_ORDER} LIMIT ?", [*where[1], *given, num])
        rows = [RunRow(*row) for row in read]
        yield from (row for row, is_one in zip(rows, chosen(rows), strict=True) if is_one)
        if len(rows) < num:
            return
        page = replace(page, after=Cursor(rows[-1].began_s, rows[-1].id))
