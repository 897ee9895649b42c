"""Agents on the command line: they run as apps do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Teola = Callable[..., Any]

AGENTS = """
import teola as tl

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
llm = tl.LLM("fake:", replies={r"<.tool.>3": "It is 3.", "sum": CALL, "": "hello"})

def add(a: int, b: int) -> int:
    return a + b

greeter = tl.Agent("greeter", llm, instructions="Greet.", description="Greets people.")
calc = tl.Agent("calc", llm, tools=[add])
"""


def test_an_agent_runs_by_its_name_in_the_module(teola: Teola, tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text(AGENTS)
    done = teola("run", "agents.py:greeter", "--task", "hi", "--quiet")
    assert (done.code, done.out) == (0, "hello\n")
    shown = teola("run", "agents.py:greeter", "--help")
    assert "Greets people." in shown.out
    assert "--task" in shown.out


def test_an_agent_with_tools_runs_and_its_trace_has_the_calls(teola: Teola, tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text(AGENTS)
    done = teola("run", "agents.py:calc", "--task", "the sum", "--quiet", "--trace", "t.jsonl")
    assert (done.code, done.out) == (0, "It is 3.\n")
    trace = teola("trace", "t.jsonl")
    assert "add" in trace.out
    assert "turn" in trace.out
