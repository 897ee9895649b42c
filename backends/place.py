"""Where a request stands in its query: what schedulers and engines may order by."""

from dataclasses import dataclass
from typing import Literal

Objective = Literal["latency", "throughput"]  # somebody waits for each answer, or for all of many


class Left:
    """What is left of a query: all its requests share one, and it changes while the query runs.

    Whoever orders by it gives a set, into which it puts itself at each change; from any thread.
    """

    __slots__ = ("_is_guess", "_since_s", "_told", "_work_s")

    def __init__(self, work_s: float, since_s: float = 0.0, is_guess: bool = False) -> None:
        self._work_s = work_s
        self._since_s = since_s
        self._is_guess = is_guess
        self._told: dict[int, set[Left]] = {}  # by id(): one operation each, for several threads

    @property
    def work_s(self) -> float:
        """Expected seconds of LLMs, or of all engines where it has no LLM."""
        return self._work_s

    @work_s.setter
    def work_s(self, work_s: float) -> None:
        self._work_s = work_s
        self._has_changed()

    def add(self, work_s: float) -> None:
        """So much more is left than was thought, or less."""
        self._work_s = max(0.0, self._work_s + work_s)
        if self._told:
            self._has_changed()

    @property
    def since_s(self) -> float:
        """When the query began, on the clock of who orders."""
        return self._since_s

    @since_s.setter
    def since_s(self, since_s: float) -> None:
        self._since_s = since_s
        self._has_changed()

    @property
    def is_guess(self) -> bool:
        """Nobody waits for it yet: it goes behind all that somebody waits for."""
        return self._is_guess

    @is_guess.setter
    def is_guess(self, is_guess: bool) -> None:
        self._is_guess = is_guess
        self._has_changed()

    def tell(self, changed: "set[Left]") -> None:
        """From now on it puts itself into this set when it changes."""
        self._told[id(changed)] = changed

    def tell_no_more(self, changed: "set[Left]") -> None:
        """Undo `tell`."""
        self._told.pop(id(changed), None)

    def _has_changed(self) -> None:
        for changed in list(self._told.values()):
            changed.add(self)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request stands in the query that waits for it: what schedulers and engines may order
    by. Without a name of a query nothing is known but the tenant."""

    query: str
    left_s: float  # expected seconds from the start of the request to the end of its query
    depth: int = 0  # engine primitives still to run one after another once it is finished
    group: str | None = None  # of those that work side by side for one consumer
    objective: Objective = "latency"
    node: str = ""  # of which app and plan it is; equal nodes have prompts that begin alike
    work_s: float = 0.0  # expected seconds of LLMs, or else of all engines, in all; 0: not known
    tenant: str = ""  # for whom
    program: str = ""  # of several queries the one whole that they are of; empty: the query
    deadline_s: float | None = None  # of the query, on the clock of who orders
    left: Left | None = None  # None: nothing is known but `left_s`
    policy: str = ""  # the name of the one that orders its engine, told in other processes
    client: str = ""  # whose word this is: it orders that client's requests among themselves only

    @property
    def is_guess(self) -> bool:
        """Whether it runs ahead of what may never ask for it."""
        return self.left is not None and self.left.is_guess
