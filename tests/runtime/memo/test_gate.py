"""What is remembered is not run again; what runs is joined; nobody suffers from another's failure.

All in virtual time, on fake engines that say they are repeatable.
"""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.documents import Doc
from runtime.clock import now, run_virtual
from runtime.errors import NodeFailed, ToolTimeout
from runtime.memo import gate, rules
from runtime.memo.aside import MOST_ITEMS
from runtime.memo.functions import MAX_KNOWN

Worlds = Callable[..., Any]
SAME = {"repeatable": True, "latency_s": 1.0}

EMBED_LIST = """\
graph g {
  %xs = input [type="list[str]"]
  %v = embed %xs [engine="embedder"]
  return %v
}"""
EMBED_ONE = EMBED_LIST.replace("%xs", "%x").replace("list[str]", "str")
CALL = """\
graph g {
  %x = input [type="str"]
  %y = call %x [engine="tools", fn="f", pure=true]
  return %y
}"""
ASK = """\
graph g {
  %q = input [type="str"]
  %c0 = context [engine="llm"]
  %c1 = prefill %c0 @user "Say " %q @assistant [engine="llm"]
  %t, %c2 = decode %c1 [engine="llm"]
  return %t
}"""


def texts_run(w: Any, engine: str = "embedder") -> list[Any]:
    """What the fake engine ran, one input a request."""
    journal = w.runtime.scheduler(engine, w.specs[engine]).engine.journal
    return [inputs[0] for batch in journal for _, inputs in batch]


async def timed(run: Any) -> tuple[Any, float]:
    began_s = now()
    (result,) = await run
    return result, round(now() - began_s, 3)


def test_only_the_texts_that_nobody_embedded_before_are_embedded(world: Worlds) -> None:
    w = world(embedder=SAME)

    async def main() -> None:
        first, _ = await timed(w.run(EMBED_LIST, {"xs": ["a", "b", "a"]}, memo=True))
        again, again_s = await timed(w.run(EMBED_LIST, {"xs": ["b", "c", "a"]}, memo=True))
        one, one_s = await timed(w.run(EMBED_ONE, {"x": "c"}, memo=True))
        assert np.array_equal(again[[2, 0]], first[:2])
        assert np.array_equal(one, again[1])
        assert (again_s, one_s) == (1.0, 0.0)

    run_virtual(main())
    assert texts_run(w) == [["a", "b"], ["c"]]


def test_a_document_is_embedded_by_its_text_alone(world: Worlds) -> None:
    w = world(embedder=SAME)

    async def main() -> None:
        await w.run(EMBED_LIST, {"xs": [Doc("a", "1")]}, memo=True)
        await w.run(EMBED_LIST, {"xs": [Doc("a", "2", metadata={"k": "v"})]}, memo=True)

    run_virtual(main())
    assert len(texts_run(w)) == 1


@pytest.mark.parametrize("memo", [True, False])
def test_equal_calls_of_queries_in_flight_run_once(world: Worlds, memo: bool) -> None:
    w = world(tools=SAME)
    ran: list[str] = []

    def f(x: str) -> str:
        ran.append(x)
        return f"<{x}>"

    found = w.run_all(CALL, CALL, CALL, inputs={"x": "a"}, symbols={"f": f}, memo=memo)
    assert found == [["<a>"]] * 3
    assert len(ran) == (1 if memo else 3)


def test_functions_are_known_by_themselves_not_by_their_names(world: Worlds) -> None:
    w = world(tools=SAME)

    async def main() -> list[Any]:
        return [
            await w.run(CALL, {"x": "a"}, {"f": f}, memo=True)
            for f in (lambda x: x + "1", lambda x: x + "2")
        ]

    assert run_virtual(main()) == [["a1"], ["a2"]]


def test_a_call_that_may_change_something_is_never_remembered(world: Worlds) -> None:
    w = world(tools=SAME)
    ran: list[str] = []

    async def main() -> None:
        for attr in ("", ", reads=true, pure=true"):
            graph = CALL.replace(", pure=true", attr)
            for _ in range(2):
                await w.run(graph, {"x": "a"}, {"f": ran.append}, memo=True)

    run_virtual(main())
    assert len(ran) == 4


def test_an_engine_that_does_not_say_that_it_is_repeatable_runs_all(world: Worlds) -> None:
    w = world(embedder={})

    async def main() -> None:
        for _ in range(2):
            await w.run(EMBED_ONE, {"x": "a"}, memo=True)

    run_virtual(main())
    assert len(texts_run(w)) == 2


def test_a_list_that_one_query_changes_is_another_querys_as_it_was(world: Worlds) -> None:
    w = world(tools=SAME)

    async def main() -> None:
        symbols = {"f": lambda x: [x, "b"]}
        ((mine,),) = [await w.run(CALL, {"x": "a"}, symbols, memo=True)]
        mine.append("c")
        for _ in range(2):
            (other,) = await w.run(CALL, {"x": "a"}, symbols, memo=True)
            assert other == ["a", "b"]
            other.clear()

    run_virtual(main())


def test_a_failure_is_told_to_its_own_query_and_the_others_run_the_work_themselves(
    world: Worlds,
) -> None:
    w = world(tools=SAME)
    ran: list[str] = []

    def f(x: str) -> str:
        ran.append(x)
        if len(ran) == 1:
            raise ValueError("the first fails")
        return x

    first, *others = w.run_all(*[CALL] * 3, inputs={"x": "a"}, symbols={"f": f}, memo=True)
    assert isinstance(first, NodeFailed)
    assert others == [["a"], ["a"]]
    assert len(ran) == 2


def test_a_failure_is_not_remembered(world: Worlds) -> None:
    w = world(tools=SAME)
    fails = [True]

    def f(x: str) -> str:
        if fails:
            raise ValueError(fails.pop())
        return x

    async def main() -> None:
        with pytest.raises(NodeFailed):
            await w.run(CALL, {"x": "a"}, {"f": f}, memo=True)
        assert await w.run(CALL, {"x": "a"}, {"f": f}, memo=True) == ["a"]

    run_virtual(main())


@pytest.mark.parametrize("num_slots", [1, 0])
def test_a_cancelled_query_leaves_the_work_to_those_who_wait_for_it(
    world: Worlds, num_slots: int
) -> None:
    options: Mapping[str, Any] = SAME if num_slots else {**SAME, "num_slots": 1}
    w = world(tools=options)

    async def main() -> None:
        symbols = {"f": lambda x: x}
        busy = asyncio.create_task(w.run(CALL, {"x": "other"}, symbols, memo=True))
        first = asyncio.create_task(w.run(CALL, {"x": "a"}, symbols, memo=True))
        second = asyncio.create_task(w.run(CALL, {"x": "a"}, symbols, memo=True))
        await asyncio.sleep(0.5)
        first.cancel()
        assert await second == ["a"]
        await busy
        with pytest.raises(asyncio.CancelledError):
            await first
        third, took_s = await timed(w.run(CALL, {"x": "a"}, symbols, memo=True))
        assert (third, took_s) == ("a", 0.0)

    run_virtual(main())


def test_a_cancelled_query_that_nobody_joined_stops_its_work(world: Worlds) -> None:
    w = world(tools=SAME)

    async def main() -> None:
        only = asyncio.create_task(w.run(CALL, {"x": "a"}, {"f": lambda x: x}, memo=True))
        await asyncio.sleep(0.5)
        only.cancel()
        await asyncio.gather(only, return_exceptions=True)
        again, took_s = await timed(w.run(CALL, {"x": "a"}, {"f": lambda x: x}, memo=True))
        assert again == "a"
        assert took_s >= 1.0  # it runs anew, and not on what was stopped

    run_virtual(main())


def test_who_waits_goes_on_when_the_one_who_worked_is_cancelled_twice(world: Worlds) -> None:
    w = world(tools=SAME)

    async def main() -> None:
        runs = [
            asyncio.create_task(w.run(CALL, {"x": "a"}, {"f": lambda x: x}, memo=True))
            for _ in range(4)
        ]
        for run in runs[:3]:
            await asyncio.sleep(0.2)
            run.cancel()
        assert await runs[3] == ["a"]
        await asyncio.gather(*runs, return_exceptions=True)

    run_virtual(main())


LLM = {"repeatable": True, "token_s": 1.0, "replies": {"Say": "one two three "}}


def test_a_greedy_text_is_written_once_and_its_tokens_are_told_again(world: Worlds) -> None:
    w = world(llm=LLM)

    async def main() -> None:
        first, first_s = await timed(w.run(ASK, {"q": "it"}, memo=True))
        again, again_s = await timed(w.run(ASK, {"q": "it"}, memo=True))
        other, other_s = await timed(w.run(ASK, {"q": "that"}, memo=True))
        assert first == again == other
        assert (first_s, again_s, other_s) == (3.0, 0.0, 3.0)

    run_virtual(main())
    told = [(e.query, e.fields["text"]) for e in w.log.events if e.kind == "text"]
    assert told[3:4] == [("q2", "one two three ")]
    ends = [e.fields for e in w.log.events if e.kind == "end" and e.node == "t"]
    assert [end["decode_tokens"] for end in ends] == [3, 0, 3]
    assert [end.get("remembered_items", 0) for end in ends] == [0, 1, 0]
    assert w.num_live_contexts == 0


def test_who_joins_a_text_gets_what_there_is_and_then_the_rest(world: Worlds) -> None:
    w = world(llm=LLM)

    async def main() -> None:
        first = asyncio.create_task(w.run(ASK, {"q": "it"}, memo=True))
        await asyncio.sleep(1.5)
        second = asyncio.create_task(w.run(ASK, {"q": "it"}, memo=True))
        assert await first == await second == ["one two three "]

    run_virtual(main())
    told = [(e.t, e.fields["text"]) for e in w.log.events if e.kind == "text" and e.query == "q2"]
    assert told == [(1.5, "one "), (2.0, "two "), (3.0, "three ")]
    assert w.num_live_contexts == 0


def test_a_prompt_in_two_prefills_is_the_prompt_in_one(world: Worlds) -> None:
    cut = ASK.replace(
        '%c1 = prefill %c0 @user "Say " %q @assistant [engine="llm"]',
        '%h = prefill %c0 @user "Say " [engine="llm"]\n'
        '  %c1 = prefill %h %q @assistant [engine="llm"]',
    )
    w = world(llm=LLM)

    async def main() -> None:
        await w.run(ASK, {"q": "it"}, memo=True)
        _, took_s = await timed(w.run(cut, {"q": "it"}, memo=True))
        assert took_s == 0.0

    run_virtual(main())


@pytest.mark.parametrize(
    ("attrs", "is_remembered"),
    [
        (", temperature=0.7", False),
        (", temperature=0.7, seed=1", True),
        (", max_tokens=2", True),
    ],
)
def test_a_sampled_text_is_remembered_only_with_its_seed(
    world: Worlds, attrs: str, is_remembered: bool
) -> None:
    w = world(llm=LLM)
    graph = ASK.replace('decode %c1 [engine="llm"', f'decode %c1 [engine="llm"{attrs}')

    async def main() -> None:
        _, first_s = await timed(w.run(graph, {"q": "it"}, memo=True))
        _, again_s = await timed(w.run(graph, {"q": "it"}, memo=True))
        assert first_s > 0
        assert again_s == (0.0 if is_remembered else first_s)

    run_virtual(main())


def test_a_text_whose_context_goes_on_is_written_again(world: Worlds) -> None:
    goes_on = ASK.replace(
        "return %t",
        '%c3 = prefill %c2 @user "Say more" @assistant [engine="llm"]\n'
        '  %t2, %c4 = decode %c3 [engine="llm"]\n  return %t2',
    )
    w = world(llm=LLM)

    async def main() -> None:
        for _ in range(2):
            _, took_s = await timed(w.run(goes_on, {"q": "it"}, memo=True))
            assert took_s == 6.0

    run_virtual(main())
    assert w.num_live_contexts == 0


def test_tenants_share_nothing(world: Worlds) -> None:
    w = world(llm=LLM, embedder=SAME)

    async def main() -> None:
        for salt in ("anna", "ben", None):
            _, first_s = await timed(w.run(ASK, {"q": "it"}, memo=True, salt=salt))
            _, again_s = await timed(w.run(ASK, {"q": "it"}, memo=True, salt=salt))
            assert (first_s, again_s) == (3.0, 0.0)
            await w.run(EMBED_ONE, {"x": "a"}, memo=True, salt=salt)

    run_virtual(main())
    assert len(texts_run(w)) == 3


def test_a_salt_reaches_the_llm_also_where_nothing_is_remembered(world: Worlds) -> None:
    w = world(llm={"token_s": 0.0})
    seen: list[Any] = []
    engine = w.runtime.scheduler("llm", w.specs["llm"]).engine
    execute = engine.execute

    async def spy(requests: Any) -> Any:
        seen.extend(request.attrs.get("cache_salt") for request in requests)
        return await execute(requests)

    engine.execute = spy
    w.run_all(ASK, inputs={"q": "it"}, memo=False, salt="anna")
    assert seen == ["anna", "anna"]


def test_a_folder_remembers_beyond_the_runtime(world: Worlds, tmp_path: Path) -> None:
    async def main(w: Any) -> None:  # in real time: a folder has a thread
        await w.run(EMBED_LIST, {"xs": ["a", "b"]}, memo=str(tmp_path))
        await w.run(ASK, {"q": "it"}, memo=str(tmp_path))
        await w.runtime.close()

    for number in range(2):
        w = world(embedder={"repeatable": True}, llm={"repeatable": True})
        asyncio.run(main(w))
        ran = [event.op for event in w.log.events if event.kind == "start"]
        assert ran == (["prefill"] if number else ["embed", "prefill", "decode"])


def test_a_users_function_is_not_remembered_on_disk(world: Worlds, tmp_path: Path) -> None:
    ran: list[str] = []

    def f(x: str) -> str:
        ran.append(x)
        return x

    for _ in range(2):
        w = world(tools=SAME)
        w.run_all(CALL, inputs={"x": "a"}, symbols={"f": f}, memo=str(tmp_path))
    assert len(ran) == 2


def told_to(w: Any, query: str) -> str:
    """The pieces of text that a query's listener heard."""
    texts = [e.fields["text"] for e in w.log.events if e.kind == "text" and e.query == query]
    return "".join(texts)


def llm_of(w: Any) -> Any:
    return w.runtime.scheduler("llm", w.specs["llm"]).engine


def test_who_joined_a_text_that_fails_hears_it_once(world: Worlds) -> None:
    w = world(llm=LLM)

    async def main() -> None:
        runs = [asyncio.create_task(w.run(ASK, {"q": "it"}, memo=True)) for _ in range(3)]
        await asyncio.sleep(1.5)
        llm_of(w)._aborted |= llm_of(w)._running
        failed, *others = await asyncio.gather(*runs, return_exceptions=True)
        assert isinstance(failed, NodeFailed)
        assert others == [["one two three "]] * 2

    run_virtual(main())
    assert told_to(w, "q1") == "one "
    assert told_to(w, "q2") == told_to(w, "q3") == "one two three "


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_work_stops_when_all_who_wait_for_it_are_cancelled(
    world: Worlds, order: tuple[int, ...]
) -> None:
    w = world(llm={**LLM, "replies": {"Say": "word " * 50}})

    async def main() -> None:
        runs = [asyncio.create_task(w.run(ASK, {"q": "it"}, memo=True)) for _ in range(3)]
        await asyncio.sleep(1.5)
        for i in order:
            assert llm_of(w)._running
            runs[i].cancel()
            await asyncio.sleep(0.1)
        await asyncio.gather(*runs, return_exceptions=True)
        await asyncio.sleep(1.5)
        assert not llm_of(w)._running

    run_virtual(main())
    assert w.num_live_contexts == 0


def test_queries_that_wait_for_one_call_get_a_list_each(world: Worlds) -> None:
    w = world(tools=SAME)
    found = w.run_all(*[CALL] * 3, inputs={"x": "a"}, symbols={"f": lambda x: [x]}, memo=True)
    for (result,) in found:
        result.append("mine")
    assert found == [[["a", "mine"]]] * 3


def test_the_metadata_of_remembered_documents_is_nobodys_to_change(world: Worlds) -> None:
    w = world(tools=SAME)

    async def main() -> None:
        for _ in range(3):
            symbols = {"f": keep(lambda x: [Doc(x, metadata={"pages": [1], "year": 2020})])}
            ((doc,),) = await w.run(CALL, {"x": "a"}, symbols, memo=True)
            assert doc.metadata == {"pages": [1], "year": 2020}
            doc.metadata["year"] = 2021
            doc.metadata["pages"].append(2)

    kept: list[Any] = []

    def keep(f: Any) -> Any:
        kept.append(f)
        return kept[0]

    run_virtual(main())


def test_what_functions_hold_is_not_held_with_their_results(world: Worlds) -> None:
    class Large:
        pass

    w = world(tools=SAME)
    refs: list[weakref.ref[Large]] = []

    def reading(large: Large) -> Callable[[str], str]:
        return lambda x: x * bool(large)

    async def main() -> None:
        for _ in range(2 * MAX_KNOWN):
            large = Large()
            refs.append(weakref.ref(large))
            await w.run(CALL, {"x": "a"}, {"f": reading(large)}, memo=True)

    run_virtual(main())
    gc.collect()
    assert sum(ref() is not None for ref in refs) <= MAX_KNOWN


def test_an_embedder_says_itself_what_it_cannot_embed(world: Worlds) -> None:
    w = world(embedder=SAME)
    same = [w.run_all(EMBED_LIST, inputs={"xs": [3]}, memo=memo) for memo in (False, True)]
    assert str(same[0][0]) == str(same[1][0])


SPLIT = CALL.replace('"str"', '"list[Doc]"')


def test_large_values_are_looked_through_on_a_thread(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = world(tools={"repeatable": True})
    on_threads: dict[str, set[bool]] = {}

    def watch(module: Any, name: str) -> None:
        original = getattr(module, name)

        def watched(*args: Any) -> Any:
            is_main = threading.current_thread() is threading.main_thread()
            if args[0]:  # something to copy
                on_threads.setdefault(name, set()).add(not is_main)
            return original(*args)

        monkeypatch.setattr(module, name, watched)

    watch(rules, "digest")
    watch(gate, "copies_of")
    watch(gate, "entries_of")
    docs = [Doc(f"{number}", f"{number}") for number in range(2 * MOST_ITEMS)]
    symbols = {"f": lambda docs: docs[::-1]}

    async def main() -> None:
        first, again = [(await w.run(SPLIT, {"x": docs}, symbols, memo=True))[0] for _ in range(2)]
        assert first == again == docs[::-1]
        await w.runtime.close()

    asyncio.run(main())
    assert on_threads == {"digest": {True}, "copies_of": {True}, "entries_of": {True}}


def test_a_query_is_cancelled_while_its_inputs_are_looked_through(world: Worlds) -> None:
    w = world(tools={"repeatable": True})
    docs = [Doc(f"{number}") for number in range(2 * MOST_ITEMS)]
    ran: list[int] = []

    async def main() -> None:
        symbols = {"f": lambda docs: ran.append(1)}
        run = asyncio.create_task(w.run(SPLIT, {"x": docs}, symbols, memo=True))
        await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await asyncio.get_running_loop().run_in_executor(None, int)
        await w.runtime.close()

    asyncio.run(main())
    assert not ran


def test_nothing_is_embedded_as_the_engine_has_it(world: Worlds) -> None:
    w = world(embedder=SAME)
    (found,) = w.run_all(EMBED_LIST, inputs={"xs": []}, memo=True)
    assert len(found[0]) == 0


def test_many_units_are_told_apart_in_a_moment(world: Worlds) -> None:
    w = world(embedder={"repeatable": True, "max_batch_items": 10})
    texts = [f"text {number}" for number in range(MOST_ITEMS // 2)] * 2

    async def main() -> None:
        (first,) = await w.run(EMBED_LIST, {"xs": texts}, memo=True)
        (again,) = await w.run(EMBED_LIST, {"xs": texts[::-1]}, memo=True)
        assert np.array_equal(first[::-1], again)
        await w.runtime.close()

    asyncio.run(main())


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("is_argument", [True, False])
def test_a_list_that_holds_itself_is_not_remembered(world: Worlds, is_argument: bool) -> None:
    w = world(tools={"repeatable": True})
    circle: list[Any] = []
    circle.append(circle)
    value, symbols = (circle, len) if is_argument else ("x", lambda x: circle)

    async def main() -> None:
        (found,) = await w.run(CALL, {"x": value}, {"f": symbols}, memo=True)
        assert found is circle or found == 1
        await w.runtime.close()

    asyncio.run(main())


LIMITED = CALL.replace("pure=true", "pure=true, timeout_s=0.5, retries=1")


def test_work_with_a_time_limit_is_not_anothers_that_began_earlier(world: Worlds) -> None:
    w = world(tools={"repeatable": True, "num_slots": 4, "latency_s": 100.0})

    async def main() -> None:
        first = asyncio.create_task(w.run(LIMITED, {"x": "a"}, {"f": str}, memo=True))
        await asyncio.sleep(0.3)
        second = asyncio.create_task(w.run(LIMITED, {"x": "a"}, {"f": str}, memo=True))
        ended = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(error) for error in ended] == [ToolTimeout] * 2
        assert now() < 3.0
        await w.runtime.close()

    run_virtual(main())
    starts = [event.query for event in w.log.events if event.kind == "start"]
    assert sorted(starts) == ["q1", "q1", "q2", "q2"]


def test_what_ended_within_its_time_limit_is_remembered(world: Worlds) -> None:
    w = world(tools={"repeatable": True, "latency_s": 0.1})

    async def main() -> None:
        symbols = {"f": lambda x: x}
        for expected_s in (0.1, 0.0):
            assert await timed(w.run(LIMITED, {"x": "a"}, symbols, memo=True)) == ("a", expected_s)

    run_virtual(main())
