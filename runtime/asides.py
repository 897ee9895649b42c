"""Requests that a query makes for later work: nobody waits for them, and none may fail it."""

from collections.abc import Callable

from backends.base import Outcome, Request, Result
from runtime.hints import Hint
from runtime.job import Job, Scheduler, Started
from runtime.scope import release
from runtime.telling import Teller

_NOTHING = Result(())  # of one that failed or was stopped


class Asides:
    """Of one query. What has not ended with it is stopped."""

    def __init__(self, query: str, teller: Teller) -> None:
        self._query = query
        self._teller = teller
        self._running: dict[str, Callable[[], None]] = {}  # by request id: how to stop it

    def submit(
        self, engine: str, scheduler: Scheduler, request: Request, hint: Hint, path: str
    ) -> None:
        """Run a request of the node at this path, on what the app calls `engine`."""

        def started(at: Started) -> None:
            fields = {"engine": engine, "batch": at.batch, "batch_size": at.batch_size}
            self._teller.tell("start", path, request.op, fields)

        def done(outcome: Outcome) -> None:
            result = outcome if isinstance(outcome, Result) else _NOTHING
            for value in result.outputs:
                release(value)
            if self._running.pop(request.id, None) is not None:
                self._teller.tell_end(path, request.op, result)

        def stop() -> None:
            scheduler.cancel(job)
            self._teller.tell_end(path, request.op, _NOTHING)

        job = Job(request, self._query, hint, started, done)
        self._running[request.id] = stop
        self._teller.tell("ready", path, request.op, {"engine": engine, "items": 1})
        scheduler.submit(job)

    def end(self) -> None:
        """Stop all that runs."""
        running, self._running = self._running, {}
        for stop in running.values():
            stop()
