"""Constant heads of prompts are prefilled once, pinned, and released when others need the place."""

from collections.abc import Callable
from typing import Any

from backends.fake.llm import FakeLLM
from runtime.clock import run_virtual
from runtime.pinned_heads import PinnedHeads

Worlds = Callable[..., Any]

ASK = """\
graph g {
  %q = input [type="str"]
  %c0 = context [engine="llm"]
  %t, %c1 = decode %c0 @user "HEAD" @sp %q @assistant [engine="llm"]
  return %t
}"""
TOOLS = '[engine="llm", tools=[{"name": "f"}]]\n  return'
HEAD = "Answer the question from the passages that follow, and from nothing else."


def ask(head: str = HEAD) -> str:
    return ASK.replace("HEAD", head)


def llm(world: Any) -> FakeLLM:
    engine = world.runtime.scheduler("llm", world.specs["llm"]).engine
    assert isinstance(engine, FakeLLM)
    return engine


def prefills(engine: FakeLLM) -> int:
    return sum(op == "prefill" for batch in engine.journal for op, _ in batch)


def run_each(world: Any, *texts: str, **options: Any) -> None:
    async def main() -> None:
        for text in texts:
            await world.run(text, {"q": "Why?"}, **options)

    run_virtual(main())


def test_the_first_query_has_a_head_prefilled_and_pinned_and_later_ones_only_use_it(
    world: Worlds,
) -> None:
    w = world(llm={"pin": True, "decode_parts": True})
    run_each(w, ask(), ask(), ask())
    assert prefills(llm(w)) == 1
    assert llm(w).pinned == [f"<|user|>{HEAD}"]
    assert w.num_live_contexts == 1


def test_an_engine_that_cannot_pin_is_not_asked(world: Worlds) -> None:
    w = world(llm={"decode_parts": True})
    run_each(w, ask(), ask())
    assert prefills(llm(w)) == 0
    assert w.num_live_contexts == 0


def test_tenants_do_not_share_a_head(world: Worlds) -> None:
    w = world(llm={"pin": True, "decode_parts": True})
    run_each(w, ask(), salt="a")
    run_each(w, ask(), ask(), salt="b")
    assert prefills(llm(w)) == 2


def test_the_heads_used_least_recently_are_released(world: Worlds) -> None:
    w = world(llm={"pin": True, "decode_parts": True})
    w.runtime._heads = PinnedHeads(max_heads=2)
    first, second, third = (ask(f"{HEAD} {n}") for n in "123")
    run_each(w, first, second, first, third)
    assert w.num_live_contexts == 2
    run_each(w, first)
    assert prefills(llm(w)) == 3
    run_each(w, second)
    assert prefills(llm(w)) == 4


def test_a_failed_prefill_is_asked_for_again_and_harms_no_query(world: Worlds) -> None:
    w = world(llm={"pin": True, "decode_parts": True, "fail": {"prefill": "no room"}})
    run_each(w, ask(), ask())
    assert prefills(llm(w)) == 2
    assert llm(w).pinned == []


def test_a_head_is_prefilled_with_the_tools_of_its_prompts(world: Worlds) -> None:
    w = world(llm={"pin": True, "decode_parts": True})
    tools = ask().replace('[engine="llm"]\n  return', TOOLS)
    run_each(w, tools, tools, ask())
    with_tools, without = w.runtime._heads._contexts.values()
    assert [tool.name for tool in with_tools.tools.tools] == ["f"]
    assert without.tools is None
