"""What queries hand to the scheduler of an engine, and what a scheduler is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from backends.base import Outcome, Request
from backends.place import Left, Place
from backends.policy.base import Ticket
from graph_opt.graph import Node
from runtime.caller import ANYBODY, Caller
from runtime.hints import Hint


@dataclass(slots=True)  # not frozen: there is one a batch, and those take three times as long
class Started:
    """Told to a job when its batch starts."""

    batch: int
    batch_size: int  # requests in the batch
    load_s: float  # how long the batch waited for the engine to load
    policy: str = ""  # its name
    num_waiting: int = 0  # requests that stayed behind at the engine
    wait: Mapping[str, Any] = field(default_factory=dict)  # why it waited, for jobs with listeners


class Job(Ticket):
    """A request with the callbacks of the query that waits for it."""

    __slots__ = (
        "caller",
        "given_up",
        "has_tries_left",
        "hears_stop",
        "hint",
        "is_cancelled",
        "is_final",
        "is_heard",
        "may_join",
        "may_remember",
        "may_repeat",
        "node",
        "on_done",
        "on_retry",
        "on_start",
        "path",
        "request",
        "started_s",
    )

    def __init__(
        self,
        request: Request,
        query: str,
        hint: Hint,
        on_start: Callable[[Started], None],
        on_done: Callable[[Outcome], None],
        may_remember: bool = False,
        caller: Caller = ANYBODY,
        may_repeat: bool = False,
        path: str = "",
        is_heard: bool = False,
        node: Node | None = None,
        left: Left | None = None,
        place: Place | None = None,
    ) -> None:
        """`node` is the primitive that waits for it, None where none does; `path` is its, as
        `map[3].draft`. Where it `is_heard`, somebody listens to its query and is told why it
        waited. `place` where it was made already."""
        request.place = place or hint.at(query, caller, left)
        super().__init__(0, 0.0, request.place, request.op, request.num_items)
        self.hint = hint
        self.caller = caller
        self.request = request
        self.on_start = on_start
        self.on_done = on_done
        self.may_remember = may_remember  # equal requests have equal outcomes: see runtime.memo
        self.may_repeat = may_repeat  # it has no effects: see runtime.repeats
        self.on_retry: Callable[[Mapping[str, Any]], None] = _tell_nobody  # fields of an event
        self.hears_stop = False  # it gets an outcome also when it is cancelled while it runs
        self.may_join = True  # may wait for equal work that runs already
        self.is_cancelled = False
        self.has_tries_left = False  # where it fails, another job is sent in its place
        self.is_final = False  # its outcome is the run store's: no failure to try again
        self.given_up: Exception | None = None  # what its query has instead, where it is cancelled
        self.started_s = 0.0
        self.node = node
        self.path = path
        self.is_heard = is_heard

    @property
    def at(self) -> str:
        """Its query and path, as `q3.map[3].draft`."""
        return f"{self.place.query}.{self.path}" if self.path else self.place.query

    def replaced(self, on_done: Callable[[Outcome], None], request: Request | None = None) -> "Job":
        """The same for another request, or with an outcome that goes elsewhere."""
        job = Job(
            request or self.request,
            self.place.query,
            self.hint,
            self.on_start,
            on_done,
            self.may_remember,
            self.caller,
            self.may_repeat,
            self.path,
            self.is_heard,
            self.node,
            self.place.left,
            self.place,
        )
        job.may_join = self.may_join
        job.on_retry = self.on_retry
        return job


def _tell_nobody(fields: Mapping[str, Any]) -> None:
    """Of a job without a listener."""


class Scheduler(Protocol):
    """Where queries send the requests for one engine."""

    @property
    def name(self) -> str: ...

    @property
    def batch_items(self) -> int:
        """The most items in a batch."""

    @property
    def num_slots(self) -> int:
        """How many batches run at once."""

    @property
    def num_jobs(self) -> int:
        """How many wait or run."""

    def submit(self, job: Job) -> None:
        """Queue a job; its callbacks are called later, never within."""

    def cancel(self, job: Job) -> None:
        """Forget a waiting job, which gets no outcome, or abort a running one, which may."""
