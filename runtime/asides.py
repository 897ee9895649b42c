"""Requests that a query makes for later work: nobody waits for them, and none may fail it."""

from collections.abc import Callable
from dataclasses import dataclass

from backends.base import Outcome, Request, Result
from graph_opt.graph import Node
from runtime.guesses import Guess
from runtime.hints import Hint
from runtime.job import Job, Scheduler, Started
from runtime.scope import release
from runtime.telling import Teller

_NOTHING = Result(())  # of one that failed or was stopped


class Asides:
    """Of one query. Such a request is stopped when the node comes that it is ahead of, and with the
    query."""

    def __init__(self, query: str, teller: Teller) -> None:
        self._query = query
        self._teller = teller
        self._running: dict[str, _Aside] = {}  # by request id
        self._guesses: dict[str, Guess] = {}  # by the path of the node that each is ahead of

    def submit(
        self,
        engine: str,
        scheduler: Scheduler,
        request: Request,
        hint: Hint,
        path: str,
        node: Node,
        guess: Guess | None = None,
    ) -> None:
        """Run the request of a node on what the app calls `engine`; `path` is its scope's."""
        ahead_of = f"{path}{node.attrs['ahead_of']}"
        if guess is not None:
            self._guesses[ahead_of] = guess

        def started(at: Started) -> None:
            fields = {"engine": engine, "batch": at.batch, "batch_size": at.batch_size}
            self._teller.tell("start", path + node.name, node.op, fields)

        def done(outcome: Outcome) -> None:
            if guess is not None:
                guess.ended(outcome)
            result = outcome if isinstance(outcome, Result) else _NOTHING
            for value in result.outputs:
                release(value)
            if self._running.pop(request.id, None) is not None:
                self._teller.tell_end(path + node.name, node.op, result)

        def stop() -> None:
            scheduler.cancel(job)
            self._teller.tell_end(path + node.name, node.op, _NOTHING)

        job = Job(request, self._query, hint, started, done)
        self._running[request.id] = _Aside(ahead_of, stop)
        fields = {"engine": engine, "items": request.num_items}
        self._teller.tell("ready", path + node.name, node.op, fields)
        scheduler.submit(job)

    def end_of(self, path: str) -> Guess | None:
        """Stop what is ahead of the node at this path, which is there; the guess of its prompt."""
        if not (self._running or self._guesses):
            return None
        late = [key for key, aside in self._running.items() if aside.ahead_of == path]
        for key in late:
            self._running.pop(key).stop()
        return self._guesses.pop(path, None)

    def end(self) -> None:
        """Stop all that runs."""
        running, self._running = self._running, {}
        for aside in running.values():
            aside.stop()


@dataclass(frozen=True, slots=True)
class _Aside:
    ahead_of: str
    stop: Callable[[], None]
