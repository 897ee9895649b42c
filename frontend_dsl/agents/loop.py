"""The loop of an agent: the model's turn, the calls of it, their results, until it answers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from backends.tool_calls.formats import begins_call
from frontend_dsl.agents.agent_tools import Callee
from frontend_dsl.agents.calling import Calling
from frontend_dsl.agents.errors import AnswerNotValid, BudgetExceeded, Limit
from frontend_dsl.agents.meter import Meter
from frontend_dsl.agents.results import AgentMessage, AgentResult, Budget, CallMade
from frontend_dsl.agents.talk import Talk
from frontend_dsl.agents.turn_reader import Call, TurnReader
from frontend_dsl.breaks import AsyncRun
from frontend_dsl.forms import Form
from frontend_dsl.value import Value
from graph_opt.graph import Json

OnLimit = Literal["raise", "answer"]
MAX_CORRECTIONS = 2  # how often the model is told that its answer is not valid
SAY_THE_ANSWER = "Now write the answer as JSON."
ANSWER_NOW = "Answer now with what you have."
NOT_VALID = "Your answer is not valid: "


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for each run of an agent."""

    name: str
    callees: Mapping[str, Callee]
    form: Form  # of the answer
    max_turns: int
    budget: Budget
    tool_choice: str
    on_limit: OnLimit
    parallel_calls: bool


class _Reached(Exception):
    def __init__(self, limit: Limit, most: float) -> None:
        super().__init__(limit)
        self.limit: Limit = limit
        self.most = most


class Loop:
    """One run of an agent."""

    def __init__(self, rules: Rules, talk: Talk, run: AsyncRun, meter: Meter) -> None:
        self._rules = rules
        self._talk = talk
        self._run = run
        self._meter = meter
        self._messages: list[AgentMessage] = []
        self._calls: list[CallMade] = []
        self._num_turns = 0
        self._num_calls = 0
        self._next: list[tuple[str, str]] = []  # turns that the model has not answered
        self._base: Value | None = None  # the context before a turn that is being written
        self._is_asking = False
        self._calling: Calling | None = None  # of a turn whose calls are not answered

    async def result(self, turns: list[tuple[str, str]]) -> AgentResult[Any]:
        """What the agent answers to these turns. Raises BudgetExceeded and AnswerNotValid."""
        self._say(turns)
        stopped_by: Any = "answer"
        try:
            output = await self._in_time()
        except _Reached as reached:
            if self._rules.on_limit == "raise":
                raise BudgetExceeded(self._rules.name, reached.limit, reached.most) from None
            stopped_by = reached.limit
            output = await self._answer_now()
        return AgentResult(
            output,
            tuple(self._messages),
            tuple(self._calls),
            self._num_turns,
            self._meter.usage,
            stopped_by,
        )

    async def _in_time(self) -> Any:
        seconds = self._rules.budget.seconds
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                return await self._until_answer()
        except TimeoutError:
            if not deadline.expired():
                raise
            raise _Reached("seconds", seconds or 0.0) from None

    async def _until_answer(self) -> Any:
        choice = self._rules.tool_choice
        while True:
            self._check_limits()
            content, calling = await self._turn(choice)
            if not calling.names:
                self._check_whole(choice, content)
                return await self._answer(content)
            self._calling = calling
            self._take(await calling.results())
            self._calling = None
            most = self._rules.budget.calls
            if most is not None and self._num_calls > most:
                raise _Reached("calls", most)
            choice = "auto"

    def _check_limits(self) -> None:
        rules = self._rules
        if self._num_turns >= rules.max_turns:
            raise _Reached("turns", rules.max_turns)
        if rules.budget.tokens is not None and self._meter.tokens >= rules.budget.tokens:
            raise _Reached("tokens", rules.budget.tokens)

    def _check_whole(self, choice: str, content: str) -> None:
        """Raises AnswerNotValid for the begin of a call that had to be made."""
        if choice not in ("auto", "none") and begins_call(content):
            problem = f"max_tokens={self._talk.max_tokens} cut the call that it had to make"
            raise AnswerNotValid(
                f"the agent {self._rules.name} gave no answer: {problem}: raise it"
            )

    def _say(self, turns: list[tuple[str, str]]) -> None:
        self._next += turns
        self._messages += [AgentMessage(role, text) for role, text in turns]  # type: ignore[arg-type]

    def _take(self, made: list[CallMade]) -> None:
        self._calls += made
        answers = [(each.name, each.result) for each in made]
        self._next += self._talk.answers(answers)
        self._messages += [AgentMessage("tool", each.result) for each in made]

    async def _turn(self, choice: str, schema: Json = None) -> tuple[str, Calling]:
        """What the model says, and its calls, of which some have begun."""
        rules = self._rules
        parallel = rules.parallel_calls
        calling = Calling(rules.name, self._run, rules.callees, parallel=parallel)
        value = self._ask(choice, schema)
        try:
            if self._talk.is_plain(choice, schema):
                is_answer = not self._talk.has_json_turns and not rules.form.is_parsed
                content = str(await self._run.resolve(value, is_result=is_answer))
            else:
                content = await self._read(value, calling)
        except BaseException:
            await calling.stop()
            raise
        self._next, self._num_turns, self._is_asking = [], self._num_turns + 1, False
        self._messages.append(AgentMessage("assistant", content, calling.names))
        return content, calling

    def _ask(self, choice: str, schema: Json) -> Value:
        self._base, self._is_asking = self._talk.context, True
        return self._talk.ask(self._next, choice, schema)

    async def _read(self, value: Value, calling: Calling) -> str:
        reader = TurnReader()
        async for piece in self._run.texts(value):
            self._called(reader.feed(piece)[1], calling)
        self._called(reader.finish(), calling)
        return reader.content

    def _called(self, calls: list[Call], calling: Calling) -> None:
        most = self._rules.budget.calls
        for call in calls:
            self._num_calls += 1
            calling.add(call, is_allowed=most is None or self._num_calls <= most)

    async def _answer(self, content: str) -> Any:
        """The value of what the model says at last."""
        form = self._rules.form
        if not form.is_parsed:
            return content
        if self._talk.has_json_turns:
            content = await self._said_as_json(SAY_THE_ANSWER)
        for _ in range(MAX_CORRECTIONS):
            try:
                return _parsed(form, content)
            except ValueError as error:
                content = await self._said_as_json(f"{NOT_VALID}{_reason(error)}")
        return self._valid(content)

    def _valid(self, content: str) -> Any:
        try:
            return _parsed(self._rules.form, content)
        except ValueError as error:
            problem = f"the agent {self._rules.name} gave no valid answer: {_reason(error)}"
            raise AnswerNotValid(f"{problem}; it wrote {content[:200]!r}") from error

    async def _said_as_json(self, request: str) -> str:
        self._say([("user", request)])
        content, _ = await self._turn("none", self._rules.form.held_to["schema"])
        return content

    async def _answer_now(self) -> Any:
        """The answer at a limit: one more turn, without tools."""
        if self._calling is not None:  # the time was up while they ran
            self._take(self._calling.so_far())
        elif self._is_asking:
            self._talk.go_back(self._base)
        form = self._rules.form
        self._say([("user", ANSWER_NOW)])
        if not form.is_parsed:
            content, _ = await self._turn("none")
            return content
        content, _ = await self._turn("none", form.held_to["schema"])
        return self._valid(content)


def _parsed(form: Form, text: str) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(form.out).validate_json(text)


def _reason(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    places = ((".".join(map(str, each["loc"])), each["msg"]) for each in errors())
    return "; ".join(f"{place}: {problem}" if place else problem for place, problem in places)
