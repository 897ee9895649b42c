"""A planner that streams a task graph, whose tasks run while it is still written.

After Kim et al., "An LLM Compiler for Parallel Function Calling", ICML 2024. The plan, the results
and the answer are turns of one conversation in one context.
"""

from collections.abc import Mapping, Sequence
from inspect import isawaitable
from typing import Any, NoReturn, TypeVar, Unpack, overload

from pydantic import BaseModel, Field

from backends.errors import PlanInvalid
from backends.json_items import JsonItems
from frontend_dsl.ask import check_count, check_llm
from frontend_dsl.breaks import run_of_async_app, value
from frontend_dsl.components import LLM
from frontend_dsl.forms import form_of
from frontend_dsl.messages import Message, turn_parts
from frontend_dsl.sampling import Sampling
from frontend_dsl.teams.execution import Execution, TaskResult
from frontend_dsl.teams.members import is_member, real, type_of_answer
from frontend_dsl.teams.merging import Merge, checked_merge, merged_list
from frontend_dsl.teams.plan import check_whole, plan_schema, read_task
from frontend_dsl.teams.plan_tools import PlanTool, plan_tools, signature_line
from frontend_dsl.teams.team import Team
from frontend_dsl.tracer import tracing
from frontend_dsl.value import Value
from frontend_dsl.writing import write, write_text

R = TypeVar("R")
SYSTEM = """\
You plan. Write the tasks that lead to the answer, each a call of one tool. "$1" in an argument \
stands for what task 1 gives; a task takes only what earlier tasks give. Tasks that take nothing \
of each other run side by side.

Tools:
{tools}"""
PLAN_TOKENS = 512
INVALID = "Your plan is not valid: {problem}. Write the whole plan again."
JOIN = "{results}\n\nAnswer the task from these results; ask for another plan if they are no use."
ANSWER = "{results}\n\nAnswer the task from these results."
AGAIN = "{results}\n\nThat is not enough: {missing}\nPlan more tasks; number them from {first} on."


class Joined(BaseModel):
    """What a joiner says of the results."""

    replan: bool
    text: str = Field(max_length=400)  # the answer, or what is still missing


@overload
def planner(
    llm: LLM,
    *,
    tools: Sequence[Any],
    joiner: None = None,
    max_replans: int = ...,
    max_tasks: int = ...,
    instructions: str = ...,
    name: str = ...,
    description: str = ...,
    **sampling: Unpack[Sampling],
) -> Team[str]: ...
@overload
def planner(
    llm: LLM,
    *,
    tools: Sequence[Any],
    joiner: Merge[R],
    max_replans: int = ...,
    max_tasks: int = ...,
    instructions: str = ...,
    name: str = ...,
    description: str = ...,
    **sampling: Unpack[Sampling],
) -> Team[R]: ...


def planner(
    llm: LLM,
    *,
    tools: Sequence[Any],
    joiner: Any = None,
    max_replans: int = 1,
    max_tasks: int = 8,
    instructions: str = "",
    name: str = "planner",
    description: str = "",
    **sampling: Unpack[Sampling],
) -> Team[Any]:
    """`llm` writes a list of tasks, each a call of one of `tools`: functions, agents, teams, apps.

    A task starts as soon as it is written and what it takes (`"$1"`: what task 1 gave) is there;
    tasks that may change something outside, or need approval, start when the plan is whole. A task
    that fails is a result like any other.

    Then `llm` answers from the results, or asks for another plan, `max_replans` times at most. A
    `joiner` does that instead: an agent, which is given the task and `results=`, or a function of
    the list of `TaskResult`; if what it answers has a field `replan` that is true, there is another
    plan. A plan that cannot run is written again too; raises errors.PlanInvalid after the last.
    """
    check_llm("tl.teams.planner", llm)
    check_count("tl.teams.planner", "max_tasks", max_tasks, 1)
    check_count("tl.teams.planner", "max_replans", max_replans, 0)
    known, ending = plan_tools(tools), checked_merge("planner", joiner)
    told = "\n".join(f"- {signature_line(each)}" for each in known.values())
    system = "\n\n".join(filter(None, [instructions, SYSTEM.format(tools=told)]))

    async def run(_: Any, task: str) -> Any:
        planning = Planning(name, llm, known, system, max_tasks, sampling)
        try:
            return await planning.answer(task, ending, max_replans)
        finally:
            await planning.execution.close()

    return Team(name, (), run, description, also=[*tools, ending, llm])


class Planning:
    """One run of a planner: its conversation, and the tasks that it started."""

    def __init__(
        self,
        name: str,
        llm: LLM,
        tools: Mapping[str, PlanTool],
        system: str,
        max_tasks: int,
        sampling: Sampling,
    ) -> None:
        self.execution = Execution(tools)
        self._name = name
        self._llm = llm
        self._tools = tools
        self._max_tasks = max_tasks
        self._sampling: Sampling = {"max_tokens": PLAN_TOKENS, **sampling}
        self._unread = [Message("system", system)]
        self._context: Value | None = None

    async def answer(self, task: str, joiner: Any, max_replans: int) -> Any:
        """The answer to a task. Raises PlanInvalid."""
        told = task
        for replans_left in range(max_replans, -1, -1):
            try:
                results = await self._planned(told)
            except PlanInvalid as error:
                self.execution.drop()
                if not replans_left:
                    self._refuse(error)
                told = INVALID.format(problem=error)
                continue
            if not replans_left or _gives_text(joiner):
                return await self._last(task, joiner, results)
            joined = await self._joined(task, joiner, results)
            if not getattr(joined, "replan", False):
                return joined.text if joiner is None else joined
            told = self._again(results, joined, joiner)
        raise AssertionError("the last plan was answered, or was not valid")

    def _refuse(self, error: PlanInvalid) -> NoReturn:
        raise PlanInvalid(
            f"the planner {self._name!r} wrote no plan that can run: {error} (for the model; for "
            "the app: raise max_replans= or max_tokens=, or show a plan in instructions=)"
        ) from error

    async def _planned(self, told: str) -> list[TaskResult]:
        """Have a plan written and its tasks done."""
        run = run_of_async_app("a planner")
        schema = plan_schema(self._tools, self.execution.ids, self._max_tasks)
        last = max(self.execution.ids, default=0) + self._max_tasks
        text, items = "", JsonItems(("tasks",))
        self.execution.begin()
        async for piece in run.texts(self._plan(told, schema)):
            text += piece
            for item in items.read(text):
                self.execution.start(read_task(item, self._tools, self.execution.ids, last))
        check_whole(text)
        return await self.execution.finish()

    async def _last(self, task: str, joiner: Any, results: Sequence[TaskResult]) -> Any:
        """The answer behind which there is no other plan; a value's text is the app's own."""
        if joiner is None:
            return self._said(ANSWER, results, str)
        answer = merged_list(joiner, task, "results", [*results])
        return await answer if isawaitable(answer) else answer

    async def _joined(self, task: str, joiner: Any, results: Sequence[TaskResult]) -> Any:
        if joiner is not None:
            return await real(merged_list(joiner, task, "results", [*results]))
        return await value(self._said(JOIN, results, Joined))

    def _again(self, results: Sequence[TaskResult], joined: Any, joiner: Any) -> str:
        first = max(self.execution.ids) + 1
        if joiner is None:  # which has read the results
            return f"Plan more tasks; number them from {first} on."
        said = "\n".join(map(str, results))
        missing = getattr(joined, "text", joined)
        return AGAIN.format(results=said, missing=missing, first=first)

    def _plan(self, told: str, schema: Mapping[str, Any]) -> Value:
        tracer = tracing("a planner")
        with tracer.call("plan"):
            form = form_of(schema, **self._sampling)
            parts = self._read(Message("user", told))
            written = write_text(tracer, "plan", self._llm, self._context, parts, form)
            return self._follow(written.context, written.text)

    def _said(self, request: str, results: Sequence[TaskResult], out: Any) -> Any:
        tracer = tracing("a planner")
        with tracer.call("join"):
            listed = "\n".join(map(str, results))
            parts = self._read(Message("user", request.format(results=listed)))
            form = form_of(out, **self._sampling)
            written = write(tracer, "join", self._llm, self._context, parts, form)
            self._follow(written.context, written.text)
            return written.result

    def _read(self, message: Message) -> list[Any]:
        """The parts of a turn behind which the model writes."""
        turns, self._unread = [*self._unread, message], []
        return turn_parts(turns, tuple(turn.content for turn in turns[:-1]), tracing("a").given)

    def _follow(self, context: Value, text: Value) -> Value:
        tracing("a planner").hold(context)
        self._context = context
        return text


def _gives_text(joiner: Any) -> bool:
    """Whether a joiner's answer cannot ask for another plan."""
    return is_member(joiner) and type_of_answer(joiner) is str
