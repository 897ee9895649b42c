"""Runs the likely branch of a condition while the condition is computed, within a budget.

A guess begins when all that the branch reads is there and only the condition is missing. It is a
query of its own over what of the branch touches nothing outside (`graph_opt.analysis.early_part`).
If the branch is chosen, its requests take what the guess has; else the guess is stopped, and what
it computed is counted as wasted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from backends.base import Result
from graph_opt.graph import Node, Ref
from runtime.ahead import Ahead, Computed
from runtime.branch_history import BranchHistory
from runtime.errors import QueryCancelled, QueryError
from runtime.guess_budget import GuessBudget
from runtime.job import Scheduler
from runtime.layout import Layout
from runtime.scope import Scope, arg_value
from runtime.telling import Teller

MAX_JOBS = 4  # at an engine: with more there is no spare room,
SHARE_OF_SLOTS = 8  # unless they are less than an eighth of what it runs at once
LABELS = ("{then}", "{else}")


class Running(Protocol):
    """The query that runs a guess."""

    def start(self, about: Mapping[str, Any]) -> None: ...

    def fail(self, error: QueryError) -> None: ...


Make = Callable[[Layout, Mapping[str, Any], Ahead], Running]  # a query on the guess's inputs


@dataclass(slots=True, eq=False)
class _Guess:
    branch: int
    path: str  # of the condition
    ahead: Ahead
    running: Running


class Branches:
    """Of one query."""

    def __init__(
        self,
        budget: GuessBudget,
        history: BranchHistory,
        app: str,
        engines: Mapping[str, Scheduler],
        teller: Teller,
        make: Make,
    ) -> None:
        self._budget = budget
        self._history = history
        self._app = app
        self._engines = engines
        self._teller = teller
        self._make = make
        self._guesses: dict[tuple[Scope, str], _Guess] = {}
        self._ending: dict[_Guess, None] = {}  # those of which something is being stopped

    def look(self, scope: Scope) -> None:
        """Begin the guesses that this scope is ready for."""
        for name, parts in scope.layout.ahead.items():
            if scope.waits[name] > 0 and (scope, name) not in self._guesses:
                self._try(scope, scope.layout.nodes[name], parts)

    def chosen(self, scope: Scope, node: Node, branch: int) -> Ahead | None:
        """The condition is known: what ran ahead of this branch. A wrong guess ends."""
        path = scope.path + node.name
        self._history.note(self._app, path, branch)
        guess = self._guesses.get((scope, node.name))
        if guess is None:
            return None
        if guess.branch == branch:
            guess.ahead.is_wanted()
            return guess.ahead
        self.done(scope, node)
        return None

    def done(self, scope: Scope, node: Node) -> None:
        """The branch has ended, or was not chosen."""
        guess = self._guesses.pop((scope, node.name), None)
        if guess is not None:
            self._end(guess)

    def end(self) -> None:
        """The query has ended."""
        while self._guesses:
            self._end(self._guesses.popitem()[1])
        for guess in list(self._ending):
            guess.ahead.hurry()

    def _try(self, scope: Scope, node: Node, parts: tuple[Layout | None, ...]) -> None:
        path = scope.path + node.name
        if scope.is_stopped(node):
            return
        branch = self._history.likely(self._app, path)
        part = parts[branch] if branch is not None else None
        if branch is None or part is None or not self._has_room(part):
            return
        given = {
            param.name: arg
            for param, arg in zip(node.bodies[branch].params, node.args[1:], strict=True)
            if param.name in part.nodes
        }
        read = (arg for arg in given.values() if isinstance(arg, Ref))
        if any(arg.name not in scope.values for arg in read):
            return
        ahead = Ahead(self._budget)
        if not self._budget.begin(ahead, self._history.most(self._app, path)):
            return
        values = {name: arg_value(arg, scope.values) for name, arg in given.items()}
        running = self._make(part, values, ahead)
        guess = _Guess(branch, path, ahead, running)
        self._guesses[scope, node.name] = guess
        fields = {"engine": engines_of(part)[0], "items": 1}
        self._teller.tell("ready", _ahead_of(guess), node.op, fields)
        running.start({})

    def _has_room(self, part: Layout) -> bool:
        return all(has_room(self._engines[engine]) for engine in engines_of(part))

    def _end(self, guess: _Guess) -> None:
        guess.running.fail(QueryCancelled("the branch was not chosen, or has ended"))
        self._ending[guess] = None
        guess.ahead.end(partial(self._ended, guess))

    def _ended(self, guess: _Guess, computed: Computed, wasted: Computed) -> None:
        del self._ending[guess]
        self._history.cost(self._app, guess.path, computed.cost)
        self._teller.tell_end(_ahead_of(guess), "cond", Result((), wasted.as_wasted))


def has_room(scheduler: Scheduler) -> bool:
    """Whether an engine has spare time for a guess."""
    return scheduler.num_jobs < max(MAX_JOBS, scheduler.num_slots // SHARE_OF_SLOTS)


def engines_of(part: Layout) -> list[str]:
    """The engines that a guess needs, each once."""
    names = (str(node.attrs["engine"]) for node in part.graph.nodes if "engine" in node.attrs)
    return list(dict.fromkeys(names))


def _ahead_of(guess: _Guess) -> str:
    return f"{guess.path}{LABELS[guess.branch]}.ahead"
