"""Runs the tasks of a plan, each as soon as it is known and what it takes is there."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.errors import ConfigError
from frontend_dsl.agents.approval import approve
from frontend_dsl.agents.errors import ApprovalNeeded
from frontend_dsl.agents.task import shown
from frontend_dsl.teams.members import real
from frontend_dsl.teams.plan import PlannedTask, filled
from frontend_dsl.teams.plan_tools import PlanTool
from graph_opt.errors import GraphError


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task gave, or why it gave nothing."""

    id: int
    call: str
    value: Any = None
    failure: str | None = None

    def __str__(self) -> str:
        said = shown(self.value) if self.failure is None else f"failed: {self.failure}"
        return f"{self.call}: {said}"


class Execution:
    """The tasks of one planner's run, in an `async def` app.

    What may change something outside waits until the plan is whole; an app that does, also for all
    tasks before it.
    """

    def __init__(self, tools: Mapping[str, PlanTool]) -> None:
        self._tools = tools
        self._running: dict[int, asyncio.Task[TaskResult]] = {}
        self._dropped: list[asyncio.Task[TaskResult]] = []
        self._is_whole = asyncio.Event()
        self._earlier: frozenset[int] = frozenset()  # tasks of earlier plans

    @property
    def ids(self) -> list[int]:
        """The tasks that were started."""
        return [*self._running]

    def begin(self) -> None:
        """A plan begins."""
        self._is_whole.clear()
        self._earlier = frozenset(self._running)

    def start(self, task: PlannedTask) -> None:
        """Run a task; those that it waits for were started before."""
        before = dict(self._running)
        self._running[task.id] = asyncio.create_task(self._run(task, before))

    def drop(self) -> None:
        """The plan is not to be followed: stop and forget its tasks, which have changed nothing."""
        for number in self._running.keys() - self._earlier:
            self._dropped.append(self._running.pop(number))
            self._dropped[-1].cancel()

    async def finish(self) -> list[TaskResult]:
        """The plan is whole: the results of all tasks so far."""
        self._is_whole.set()
        return list(await asyncio.gather(*self._running.values()))

    async def close(self) -> None:
        """Stop what still runs."""
        tasks = [*self._running.values(), *self._dropped]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(
        self, task: PlannedTask, before: Mapping[int, "asyncio.Task[TaskResult]"]
    ) -> TaskResult:
        tool = self._tools[task.tool]
        results = {number: await before[number] for number in task.after}
        failed = [number for number, result in results.items() if result.failure is not None]
        if failed:
            return TaskResult(task.id, str(task), failure=f"task {min(failed)} gave nothing")
        values = {number: result.value for number, result in results.items()}
        try:
            arguments = tool.callee.arguments.check(filled(task.arguments, values))
            if not tool.may_start_early(arguments):
                await self._is_whole.wait()
                await asyncio.gather(*(before.values() if tool.keeps_order else ()))
            if tool.callee.needs_approval:
                await _approved(tool.name, arguments)
            return TaskResult(task.id, str(task), await real(tool.callee.emit(arguments)))
        except (ApprovalNeeded, GraphError, ConfigError):  # nothing that a planner can mend
            raise
        except Exception as error:  # what the planner is told of its task
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            return TaskResult(task.id, str(task), failure=reason)


async def _approved(tool: str, arguments: Mapping[str, Any]) -> None:
    if not await approve(f"May the plan call {tool}?", arguments):
        raise PermissionError("not allowed by the user; do without it")
