"""Tool turns in graphs: the same on engines of every kind, optimised and as written."""

from collections.abc import Callable
from typing import Any

import pytest

from backends.fake.capabilities import REMOTE
from backends.tool_calls.turn import read_turn
from graph_opt.facts import Facts
from graph_opt.pipeline import optimize
from graph_opt.plain import as_written
from graph_opt.text import parse
from runtime.clock import run_virtual

CALL = '<tool_call>{"name": "find", "arguments": {"q": "tea"}}</tool_call>'
REPLIES = {r"<\|tool\|>green<\|assistant\|>": "Green.", "colour": CALL}
HEAD = "Answer the question with the tools that you have, and with nothing that you know by heart."
ASK = f"""\
graph g {{
  %q = input [type="str"]
  %found = input [type="str"]
  %c0 = context [engine="llm"]
  %c1 = prefill %c0 @system "{HEAD}" @user %q @assistant [engine="llm", tools=TOOLS]
  %t, %c2 = decode %c1 [engine="llm", tool_choice="required"]
  %c3 = prefill %c2 @tool %found @assistant [engine="llm", tool_choice="auto"]
  %u, %c4 = decode %c3 [engine="llm"]
  %all = pack %t %u
  return %all
}}""".replace("TOOLS", '[{"name": "find"}, {"name": "read"}]')
INPUTS = {"q": "What colour has tea?", "found": "green"}


def run(worlds: Callable[..., Any], text: str, **llm: Any) -> Any:
    async def main() -> Any:
        w = worlds(llm={"replies": REPLIES, **llm})
        return await w.run(text, INPUTS)

    return run_virtual(main())


@pytest.mark.parametrize("server", [None, *REMOTE])
def test_a_call_and_its_answer_are_the_same_optimised_and_as_written(
    world: Callable[..., Any], server: str | None
) -> None:
    options = {} if server is None else {"capabilities": server}
    facts = Facts() if server is None else Facts({"llm": REMOTE[server]})
    written = as_written(parse(ASK))
    optimised = run(world, str(optimize(written, facts=facts)), **options)
    assert optimised == run(world, str(written), **({} if server == "api" else options))
    called, answered = map(read_turn, optimised[0])
    assert called is not None
    assert [call.name for call in called.calls] == ["find"]
    assert answered is not None
    assert answered.content == "Green."
