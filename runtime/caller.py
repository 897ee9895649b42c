"""For whom a query runs, and by when: what fair policies and those with deadlines go by."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The same for all requests of a query."""

    tenant: str = ""
    program: str = ""  # the whole that the query is a part of, as a session; empty: itself
    deadline_s: float | None = None  # on the loop's clock
    given: tuple[str, ...] = ()  # the options that a run names for these


ANYBODY = Caller()
