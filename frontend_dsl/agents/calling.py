"""Runs the calls of one turn: each a node of its own, some while the model still writes."""

import asyncio
from collections.abc import Mapping

from backends.errors import ConfigError
from frontend_dsl.agents.agent_tools import Callee, result_text
from frontend_dsl.agents.approval import approve
from frontend_dsl.agents.arguments import WrongArguments, read_arguments
from frontend_dsl.agents.errors import ApprovalNeeded
from frontend_dsl.agents.results import CallMade
from frontend_dsl.agents.turn_reader import Call
from frontend_dsl.breaks import AsyncRun
from graph_opt.errors import GraphError

NOT_IN_TIME = "not finished: the time is used up"
NOT_CALLED = "not called: the budget of calls is used up"


class Calling:
    """The calls of one turn. A call that changes nothing starts at once where `parallel`, all
    others when the turn is complete: side by side, or one after another."""

    def __init__(
        self, agent: str, run: AsyncRun, callees: Mapping[str, Callee], *, parallel: bool
    ) -> None:
        self._agent = agent
        self._run = run
        self._callees = callees
        self._parallel = parallel
        self._calls: list[Call] = []
        self._refused: set[int] = set()
        self._tasks: dict[int, asyncio.Task[CallMade]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(call.name for call in self._calls)

    def add(self, call: Call, *, is_allowed: bool) -> None:
        """The model has written a call; one that is not allowed is answered without it."""
        place = len(self._calls)
        self._calls.append(call)
        if not is_allowed:
            self._refused.add(place)
        elif self._parallel and self._may_begin(call):
            self._start(place)

    async def results(self) -> list[CallMade]:
        """What all calls gave, in their order."""
        places = [place for place in range(len(self._calls)) if place not in self._refused]
        try:
            for place in places:
                self._start(place)
                if not self._parallel:
                    await self._tasks[place]
            await asyncio.gather(*self._tasks.values())
        finally:
            await self.stop()
        return [self._made(place) for place in range(len(self._calls))]

    def so_far(self) -> list[CallMade]:
        """The same when there is no more time."""
        return [self._made(place) for place in range(len(self._calls))]

    async def stop(self) -> None:
        """Give up what runs."""
        running = [task for task in self._tasks.values() if not task.done()]
        for task in running:
            task.cancel()
        if running:  # else nothing is awaited: a cancellation would be lost here
            await asyncio.wait(running)
        for task in self._tasks.values():
            _ = task.cancelled() or task.exception()  # the first one has been told

    def _made(self, place: int) -> CallMade:
        task, call = self._tasks.get(place), self._calls[place]
        if task is not None and task.done() and not task.cancelled() and not task.exception():
            return task.result()
        why = NOT_CALLED if place in self._refused else NOT_IN_TIME
        return CallMade(call.name, {}, why, failed=True)

    def _may_begin(self, call: Call) -> bool:
        callee = self._callees.get(call.name)
        if callee is None or callee.needs_approval:
            return False
        try:
            return callee.changes_nothing(callee.arguments.check(read_arguments(call.arguments)))
        except Exception:  # the call itself says what is wrong
            return False

    def _start(self, place: int) -> None:
        if place not in self._tasks:
            self._tasks[place] = asyncio.create_task(self._perform(self._calls[place]))

    async def _perform(self, call: Call) -> CallMade:
        callee = self._callees.get(call.name)
        if callee is None:
            have = ", ".join(self._callees)
            return _failed(call, f"there is no function {call.name!r}; there are {have}")
        try:
            given = callee.arguments.check(read_arguments(call.arguments))
        except WrongArguments as error:
            return _failed(call, f"wrong arguments: {error}; call it again with others")
        question = f"May {self._agent} call {callee.name}?"
        if callee.needs_approval and not await approve(question, given):
            return CallMade(call.name, given, "not allowed by the user; do without it", failed=True)
        try:
            value = await self._run.resolve(callee.emit(given))
        except (ApprovalNeeded, GraphError, ConfigError):  # nothing that a model can mend
            raise
        except Exception as error:
            problem = f"it failed: {type(error).__name__}: {error}"
            return CallMade(call.name, given, problem, failed=True)
        return CallMade(call.name, given, result_text(value))


def _failed(call: Call, problem: str) -> CallMade:
    return CallMade(call.name, {}, problem, failed=True)
