"""What engines are told of the contexts that a query holds, and how runs correct it."""

from collections.abc import Callable
from typing import Any

from backends.fake.llm import FakeLLM
from graph_opt.analysis.next_use import next_uses
from graph_opt.graph import Node
from graph_opt.text import parse
from runtime.call_times import CallTimes, tool_of
from runtime.clock import run_virtual
from runtime.layout import layout_of
from runtime.outputs import Outputs

Worlds = Callable[..., Any]

TWO_READERS = """\
graph g {
  %c0 = context [engine="llm"]
  %c = prefill %c0 "notes" [engine="llm"]
  %a, %d = decode %c "first" [engine="llm"]
  %r = call %a [engine="calls", fn="look"]
  %b, %e = decode %c %r [engine="llm"]
  return %b
}"""
SYMBOLS = {"look": lambda *_: "seen"}
CALLS = 'graph g {\n  %r = call [engine="calls", fn="look"]\n  return %r\n}'


def told(world: Any) -> list[tuple[str, float]]:
    engine = world.runtime.scheduler("llm", world.specs["llm"]).engine
    assert isinstance(engine, FakeLLM)
    return [(text, round(after_s, 3)) for text, after_s in engine.expected]


def run_each(world: Any, *texts: str, **outputs: Any) -> None:
    async def main() -> None:
        for text in texts:
            graph = parse(text)
            layout = layout_of(graph, times=next_uses(graph))
            await world.runtime.run(layout, {}, world.specs, SYMBOLS, **outputs)

    run_virtual(main())


def test_a_context_is_told_at_its_end_and_when_it_is_read_again_later(world: Worlds) -> None:
    w = world(llm={"next_use": True, "decode_parts": True})
    run_each(w, TWO_READERS)
    assert told(w)[:2] == [("notes", 0.0), ("notes", 2.0)]


def test_an_engine_that_does_not_ask_is_told_nothing(world: Worlds) -> None:
    w = world(llm={"decode_parts": True})
    run_each(w, TWO_READERS)
    assert told(w) == []


def test_a_plan_without_times_tells_nothing(world: Worlds) -> None:
    w = world(llm={"next_use": True, "decode_parts": True})
    w.run_all(TWO_READERS, symbols=SYMBOLS)
    assert told(w) == []


def test_a_slow_tool_is_known_from_its_second_call_on(world: Worlds) -> None:
    w = world(llm={"next_use": True, "decode_parts": True}, calls={"latency_s": 30.0})
    run_each(w, TWO_READERS)
    first = told(w)
    run_each(w, TWO_READERS)
    assert ("notes", 30.0) not in first
    assert ("notes", 30.0) in told(w)[len(first) :]


def test_contexts_of_an_app_wait_for_the_segment_that_does_not_read_them(world: Worlds) -> None:
    w = world(llm={"next_use": True, "decode_parts": True}, calls={"latency_s": 4.0})
    kept: list[Any] = []
    returning = TWO_READERS.replace("return %b", "return %e")
    keep = Outputs(lambda _, value: kept.append(value))
    run_each(w, returning, outputs=keep)
    before = len(told(w))
    run_each(w, CALLS, outputs=Outputs(lambda *_: None, waiting=kept))
    last = told(w)[before:]
    assert [text for text, _ in last] == [kept[0].text] * 2
    assert [after_s for _, after_s in last] == [1.0, 4.0]  # by the plan, and by what was measured


def test_a_query_that_is_late_says_so_a_few_times(world: Worlds) -> None:
    turns = "\n".join(
        f'  %t{n}, %d{n} = decode %{f"d{n - 1}" if n else "c"} "go" [engine="llm"]'
        for n in range(20)
    )
    text = f"""\
graph g {{
  %c0 = context [engine="llm"]
  %c = prefill %c0 "own" [engine="llm"]
  %other = prefill %c0 "notes" [engine="llm"]
{turns}
  %b, %e = decode %other %t19 [engine="llm"]
  return %b
}}"""
    w = world(llm={"next_use": True, "decode_parts": True, "token_s": 1.0})
    run_each(w, text)
    of_notes = [after_s for text, after_s in told(w) if text == "notes"]
    assert 1 < len(of_notes) < 20


def test_the_time_of_a_tool_follows_its_calls() -> None:
    calls = CallTimes()
    assert calls.expected_s("look") is None
    calls.note("look", 8.0)
    assert calls.expected_s("look") == 8.0
    for _ in range(20):
        calls.note("look", 2.0)
    expected_s = calls.expected_s("look")
    assert expected_s is not None
    assert 2.0 <= expected_s < 2.1


def test_a_tool_has_its_own_name_in_all_apps() -> None:
    node = Node(("r",), "call", (), {"engine": "calls", "fn": "look"})
    first, second = tool_of(node, {"look": len}), tool_of(node, {"look": max})
    assert first != second
    assert tool_of(node, {}) == "look"
