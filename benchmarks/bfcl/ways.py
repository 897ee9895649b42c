"""Ways to ask a model for a call: by an agent that its tools' schemas constrain, and freely.

All ways ask with the same text and end at the first call, since a case has one.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import teola as tl
from backends.tool_calls.hermes import CLOSE, OPEN, hermes_messages
from backends.tool_calls.tools import read_tools
from benchmarks.bfcl.cases import Case
from benchmarks.bfcl.match import Call
from benchmarks.bfcl.score import calls_in

MAX_TOKENS = 256

Calls = Sequence[Call | None]  # None: one that was begun and is none
Way = Callable[[Case], Awaitable[Calls]]


class Recorder:
    """A tool that notes what it is called with."""

    pure = reads = needs_approval = False

    def __init__(self, described: Mapping[str, Any], calls: list[Call]) -> None:
        self.name: str = described["name"]
        self.description: str = described["description"]
        self.parameters: Mapping[str, Any] = described["parameters"]
        self._calls = calls

    async def call(self, arguments: dict[str, Any]) -> str:
        self._calls.append(Call(self.name, arguments))
        return "done"


def by_agent(llm: tl.LLM, choice: str) -> Way:
    """Through `tl.Agent`, for one turn. A call that no tool got was not well-formed."""

    async def ask(case: Case) -> Calls:
        calls: list[Call] = []
        agent = tl.Agent(
            "asked",
            llm,
            tools=[Recorder(tool, calls) for tool in case.tools],
            tool_choice=choice,
            max_turns=1,
            max_tokens=MAX_TOKENS,
            stop=CLOSE,
        )
        try:
            said = await agent.arun(case.question)
        except tl.errors.BudgetExceeded:  # it called, and has no second turn
            return calls or [None]
        return [None] if OPEN in said else []

    return ask


def freely(llm: tl.LLM, begun: bool) -> Way:
    """Unconstrained: the tools stand in the prompt. `begun`: behind the tag that opens a call."""

    async def ask(case: Case) -> Calls:
        asked = [{"role": "user", "content": case.question}]
        told, *_ = hermes_messages(asked, read_tools(case.tools), has_system=True)
        start = [tl.Message("assistant", f"{OPEN}\n")] if begun else []

        @tl.prompt(llm, max_tokens=MAX_TOKENS, stop=CLOSE)
        def write(question: str) -> list[tl.Message]:
            system = tl.Message("system", told["content"])
            return [system, tl.Message("user", question), *start]

        @tl.app
        def answer(question: str) -> str:
            return write(question)

        text = await answer.arun(case.question)
        return calls_in(OPEN + text if begun else text)

    return ask
