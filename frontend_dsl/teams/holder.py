"""The agent that holds a conversation: it answers, or hands on by a tool."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from frontend_dsl.agents.agent import Agent
from frontend_dsl.agents.agent_tools import callee_of
from frontend_dsl.agents.loop import Loop
from frontend_dsl.agents.results import AgentResult, CallMade
from frontend_dsl.teams.members import description_of
from frontend_dsl.tools import tool

TRANSFER = "transfer_to_"
MAX_UNKNOWN = 2  # how often an agent may hand on to nobody
Turn = tuple[str, str]  # role, text


@dataclass(frozen=True, slots=True)
class Transfer:
    """Who goes on with a conversation, and why."""

    to: str
    reason: str


class Holder(Agent[Any]):
    """An agent while it holds a conversation, of which `turns` were said before."""

    def __init__(self, agent: Agent[Any], others: Sequence[Agent[Any]], turns: list[Turn]) -> None:
        vars(self).update(vars(agent))
        vars(self).pop("_nested_apps", None)  # of the agent itself
        transfers = [_transfer_to(other) for other in others]
        self.tools = (*agent.tools, *transfers)
        callees = {callee.name: callee for callee in map(callee_of, transfers)}
        self._rules = replace(agent._rules, callees={**agent._rules.callees, **callees})
        self._turns = turns
        function = replace(agent._app_function, call=self._converse, is_async=True)
        self._set_function(function)

    async def _converse(self, task: str) -> AgentResult[Any]:
        return await self._conversation(task, self._turns, HandoffLoop)


class _Handed(Exception):
    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        self.transfer = transfer


class HandoffLoop(Loop):
    """An agent's loop, which ends too when the agent hands on."""

    _num_unknown = 0

    async def result(self, turns: list[Turn]) -> AgentResult[Any]:
        """Its output is the answer, or a Transfer, at last also to one that is not there."""
        try:
            return await super().result(turns)
        except _Handed as handed:
            messages, calls = tuple(self._messages), tuple(self._calls)
            usage = self._meter.usage
            return AgentResult(
                handed.transfer, messages, calls, self._num_turns, usage, stopped_by="answer"
            )

    def _take(self, made: list[CallMade]) -> None:
        super()._take(made)
        for call in made:
            if call.name.startswith(TRANSFER):
                self._hand_on(call)

    def _hand_on(self, call: CallMade) -> None:
        to = call.name.removeprefix(TRANSFER)
        if not call.failed:
            raise _Handed(Transfer(to, str(call.arguments.get("reason", ""))))
        self._num_unknown += call.name not in self._rules.callees
        if self._num_unknown >= MAX_UNKNOWN:
            raise _Handed(Transfer(to, ""))


def said_next(turns: list[Turn], by: str, result: AgentResult[Any]) -> list[Turn]:
    """The conversation for the agent that it is handed to: what was said, and found out."""
    transfer: Transfer = result.output
    why = f": {transfer.reason}" if transfer.reason else "."
    found = [_shown(call) for call in result.calls if not call.name.startswith(TRANSFER)]
    note = "\n".join([f"{by} handed this to {transfer.to}{why}", *found])
    new = result.messages[-len(_own(result)) :] if _own(result) else ()
    said = " ".join(each.content for each in new if each.role == "assistant" and each.content)
    if said:
        return [*turns, ("assistant", said), ("user", note)]
    role, text = turns[-1]
    return [*turns[:-1], (role, f"{text}\n\n{note}")]


def _own(result: AgentResult[Any]) -> Sequence[Any]:
    """The messages from the agent's first turn on."""
    roles = [each.role for each in result.messages]
    users = [place for place, role in enumerate(roles) if role == "user"]
    return result.messages[users[-1] + 1 :] if users else result.messages


def _shown(call: CallMade) -> str:
    given = json.dumps(dict(call.arguments), ensure_ascii=False, default=str)
    return f"- {call.name}({given}): {call.result}"


def _transfer_to(agent: Agent[Any]) -> Any:
    def transfer(reason: str = "") -> str:
        return reason

    about = description_of(agent)
    transfer.__doc__ = f"Hand the conversation to {agent.name}{f': {about}' if about else '.'}"
    return tool(pure=True, name=f"{TRANSFER}{agent.name}")(transfer)
