"""Whole prompts: streamed, remembered, salted and stopped as decodes are."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from backends.fake.engine import FakeEngine
from runtime.clock import now, run_virtual
from runtime.errors import QueryCancelled
from runtime.outputs import Outputs

Worlds = Callable[..., Any]

ASK = """\
graph g {
  %q = input [type="str"]
  %t = generate @user "Answer:" @sp %q @assistant [engine="llm"]
  return %t
}"""
AS_DECODE = """\
graph g {
  %q = input [type="str"]
  %c0 = context [engine="llm"]
  %c1 = prefill %c0 @user "Answer:" [engine="llm"]
  %t, %c2 = decode %c1 @sp %q @assistant [engine="llm"]
  return %t
}"""
LINES = """\
graph g {
  %q = input [type="str"]
  %t = generate @user %q @assistant [engine="llm"]
  %lines = elements ~%t [parser="lines"]
  %m = map ~%lines {
    %x = input [type="str"]
    %y = call %x [engine="tools", fn="note", pure=true]
    return %y
  }
  return %m
}"""


def api(**options: Any) -> dict[str, Any]:
    return {"capabilities": "api", **options}


def ops(world: Any) -> list[str]:
    engine = world.runtime.scheduler("llm", world.specs["llm"]).engine
    assert isinstance(engine, FakeEngine)
    return [op for batch in engine.journal for op, _ in batch]


def test_pieces_come_as_they_are_written(world: Worlds) -> None:
    w = world(llm=api(replies={"Answer": "one two three"}, token_s=1.0))
    told: list[tuple[float, str]] = []

    async def main() -> list[Any]:
        outputs = Outputs(lambda _, __: None, on_text=lambda _, text: told.append((now(), text)))
        result = await w.run(ASK, {"q": "Why?"}, outputs=outputs)
        return list(result)

    assert run_virtual(main()) == ["one two three"]
    assert told == [(1.0, "one "), (2.0, "two "), (3.0, "three")]
    kinds = [event.kind for event in w.log.events]
    assert kinds.count("first_token") == 1
    (end,) = [event for event in w.log.events if event.kind == "end"]
    assert (end.op, end.fields["prefill_tokens"], end.fields["decode_tokens"]) == ("generate", 2, 3)


def test_items_are_used_while_the_next_is_written(world: Worlds) -> None:
    w = world(llm=api(replies={".": "- a\n- b\n- c"}, token_s=1.0), tools={"num_slots": 8})
    times: dict[str, float] = {}

    def note(line: str) -> str:
        times[line] = now()
        return line.upper()

    run = w.run(LINES, {"q": "list"}, {"note": note})
    assert run_virtual(run) == [["A", "B", "C"]]
    assert times == {"a": 2.0, "b": 4.0, "c": 6.0}


def test_a_text_is_remembered_also_for_the_same_prompt_as_a_decode(world: Worlds) -> None:
    w = world(llm=api(repeatable=True))

    async def main() -> list[list[Any]]:
        asked = [ASK, ASK, AS_DECODE]
        return [await w.run(text, {"q": "Why?"}, memo=True) for text in asked]

    first, again, decoded = run_virtual(main())
    assert first == again == decoded
    assert ops(w) == ["generate", "prefill"]


def test_a_sampled_text_is_not_remembered(world: Worlds) -> None:
    w = world(llm=api(repeatable=True))
    text = ASK.replace('[engine="llm"]', '[engine="llm", temperature=1.0]')

    async def main() -> None:
        for _ in range(2):
            await w.run(text, {"q": "Why?"}, memo=True)

    run_virtual(main())
    assert ops(w) == ["generate", "generate"]


def test_a_text_in_flight_is_joined_by_another_query_which_hears_all_pieces(world: Worlds) -> None:
    w = world(llm=api(repeatable=True, token_s=1.0, replies={"Answer": "one two three"}))
    told: list[str] = []

    async def late() -> list[Any]:
        await asyncio.sleep(1.5)
        outputs = Outputs(lambda _, __: None, on_text=lambda _, text: told.append(text))
        return list(await w.run(ASK, {"q": "Why?"}, memo=True, outputs=outputs))

    async def main() -> list[list[Any]]:
        return list(await asyncio.gather(w.run(ASK, {"q": "Why?"}, memo=True), late()))

    assert run_virtual(main()) == [["one two three"], ["one two three"]]
    assert ops(w) == ["generate"]
    assert "".join(told) == "one two three"


def test_the_salt_of_a_tenant_goes_to_the_engine(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = world(llm=api())
    engine = w.runtime.scheduler("llm", w.specs["llm"]).engine
    salts: list[Any] = []
    answer = engine.answer

    async def noting(request: Any) -> Any:
        salts.append(request.attrs.get("cache_salt"))
        return await answer(request)

    monkeypatch.setattr(engine, "answer", noting)
    run_virtual(w.run(ASK, {"q": "Why?"}, salt="tenant"))
    assert salts == ["tenant"]


def test_a_cancelled_query_stops_it_at_the_engine(world: Worlds) -> None:
    w = world(llm=api(token_s=1.0, replies={"Answer": "word " * 100}))

    async def main() -> float:
        running = asyncio.get_running_loop().create_task(w.run(ASK, {"q": "Why?"}))
        await asyncio.sleep(2.5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        scheduler = w.runtime.scheduler("llm", w.specs["llm"])
        while scheduler._running:
            await asyncio.sleep(0.1)
        return now()

    assert run_virtual(main()) < 4.0


def test_a_text_held_to_a_form_and_cut_is_a_parse_error(world: Worlds) -> None:
    w = world(llm=api(replies={"Answer": "one two three"}))
    text = ASK.replace('[engine="llm"]', '[engine="llm", max_tokens=2, regex=".*"]')
    (error,) = w.run_all(text, inputs={"q": "Why?"})
    assert "was not complete" in str(error)
    assert not isinstance(error, QueryCancelled)


def test_a_prompt_of_constants_may_be_cut_too(world: Worlds) -> None:
    w = world(llm=api(replies={"Answer": "one two three"}))
    text = """\
graph g {
  %t = generate @user "Answer:" @assistant [engine="llm", max_tokens=2, regex=".*"]
  return %t
}"""
    (error,) = w.run_all(text)
    assert "was not complete" in str(error)
