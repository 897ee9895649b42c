"""When each primitive of a query runs, in virtual time."""

import asyncio
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest
from pydantic import BaseModel

from backends.documents import Doc
from backends.errors import EngineError
from runtime.clock import Deadlock, now, run_virtual
from runtime.errors import NodeFailed, OutputInvalid, QueryCancelled, QueryTimeout
from runtime.outputs import Outputs

Worlds = Callable[..., Any]


def test_a_fast_branchs_follower_never_waits_for_a_slow_sibling(world: Worlds) -> None:
    #  fast (0.1 s) ── follower        slow (1.0 s) ── end
    graph = """\
    graph g {
      %x = input [type="str"]
      %slow = call %x [engine="tools", fn="f"]
      %fast = embed %x [engine="embedder"]
      %follower = embed "y" [engine="embedder"] after %fast
      %all = pack %slow %follower
      return %all
    }"""
    w = world(tools={"latency_s": 1.0}, embedder={"latency_s": 0.1})
    w.run_all(graph, inputs={"x": "x"}, symbols={"f": lambda x: x})
    assert w.log.batches() == dedent("""\
        0.000 tools call q1.slow
        0.000 embedder embed q1.fast
        0.100 embedder embed q1.follower""")


def test_a_sequential_map_runs_item_by_item_and_a_free_one_at_once(world: Worlds) -> None:
    body = """{
        %s = input [type="str"]
        %v = embed %s [engine="embedder"]
        return %s
      }
      return %m
    }"""
    free = f'graph g {{\n %xs = input [type="list[str]"]\n %m = map %xs {body}'
    plain = free.replace("map %xs", 'map %xs [order="sequential"]')
    options = {"embedder": {"latency_s": 0.1}}
    w = world(**options)
    assert w.run_all(free, inputs={"xs": ["a", "b", "c"]}) == [[["a", "b", "c"]]]
    assert w.log.batches() == "0.000 embedder embed q1.m[0].v q1.m[1].v q1.m[2].v"
    w = world(**options)
    assert w.run_all(plain, inputs={"xs": ["a", "b", "c"]}) == [[["a", "b", "c"]]]
    assert w.log.batches().splitlines()[1:] == [
        "0.100 embedder embed q1.m[1].v",
        "0.200 embedder embed q1.m[2].v",
    ]


def test_a_map_over_nothing_gives_nothing(world: Worlds) -> None:
    graph = """\
    graph g {
      %xs = input [type="list[str]"]
      %m = map %xs { %s = input [type="str"]
        return %s
      }
      return %m
    }"""
    assert world().run_all(graph.replace("{ %s", "{\n %s"), inputs={"xs": []}) == [[[]]]


def test_queries_share_a_batch_of_an_engine(world: Worlds) -> None:
    graph = """\
    graph g {
      %v = embed "x" [engine="embedder"]
      return %v
    }"""
    w = world(embedder={"latency_s": 0.1})
    w.run_all(graph, graph, graph)
    assert w.log.batches() == "0.000 embedder embed q1.v q2.v q3.v"


def test_the_oldest_query_goes_first_and_its_deepest_primitive_before_the_others(
    world: Worlds,
) -> None:
    # b unlocks c, a unlocks nothing; a batch holds one item
    graph = """\
    graph g {
      %a = embed "x" [engine="embedder"]
      %b = embed "y" [engine="embedder"]
      %c = call %b [engine="tools", fn="f"]
      %all = pack %a %c
      return %all
    }"""
    w = world(embedder={"latency_s": 0.1, "max_batch_items": 1})
    w.run_all(graph, graph, symbols={"f": lambda b: b})
    embeds = [line for line in w.log.batches().splitlines() if "embed" in line]
    assert embeds == [
        "0.000 embedder embed q1.b",
        "0.100 embedder embed q1.a",
        "0.200 embedder embed q2.b",
        "0.300 embedder embed q2.a",
    ]


CHAT = """\
graph g {
  %q = input [type="str"]
  %c0 = context [engine="llm"]
  %c1 = prefill %c0 @user "Say" @sp %q @assistant [engine="llm"]
  %a, %c2 = decode %c1 [engine="llm"]
  %b, %c3 = decode %c1 [engine="llm", max_tokens=1]
  %all = pack %a %b
  return %all
}"""


def test_a_context_read_twice_is_forked_and_every_context_is_freed(world: Worlds) -> None:
    w = world(llm={"replies": {"Say hi": "hi there"}})
    assert w.run_all(CHAT, inputs={"q": "hi"}) == [[["hi there", "hi "]]]
    assert w.num_live_contexts == 0


def test_a_failed_primitive_fails_its_query_and_no_other(world: Worlds) -> None:
    bad = """\
    graph g {
      %v = embed "x" [engine="embedder"]
      %t = call %v [engine="tools", fn="boom"]
      return %t
    }"""
    good = bad.replace('"boom"', '"fine"')

    def boom(value: object) -> None:
        raise KeyError("no such thing")

    failed, fine = world().run_all(bad, good, symbols={"boom": boom, "fine": lambda v: "ok"})
    assert isinstance(failed, NodeFailed)
    assert failed.node == "t"
    assert isinstance(failed.cause, KeyError)
    assert fine == ["ok"]


def test_an_engine_that_breaks_fails_the_batch_but_serves_the_next(world: Worlds) -> None:
    w = world(embedder={"fail": {"embed": "out of memory"}})
    graph = """\
    graph g {
      %v = embed "x" [engine="embedder"]
      return %v
    }"""
    (error,) = w.run_all(graph)
    assert isinstance(error, NodeFailed)
    assert isinstance(error.cause, EngineError)
    assert "%v failed: out of memory" in str(error)


def test_a_query_that_takes_too_long_ends_and_frees_everything(world: Worlds) -> None:
    w = world(llm={"token_s": 1.0, "replies": {"Say": "one two three four five six"}})
    (error,) = w.run_all(CHAT, inputs={"q": "hi"}, timeout_s=2.5)
    assert isinstance(error, QueryTimeout)
    assert "2.5 s" in str(error)
    assert w.num_live_contexts == 0


def test_a_context_that_comes_after_its_query_ended_is_freed(world: Worlds) -> None:
    """The fake engine does not abort a prefill: its result comes at 1 s."""
    w = world(llm={"prefill_token_s": 1.0})
    late: list[int] = []

    async def main() -> None:
        with pytest.raises(QueryTimeout):
            await w.run(CHAT, {"q": "hi"}, timeout_s=0.5)
        engine = w.runtime.scheduler("llm", w.specs["llm"]).engine
        make = engine._context
        engine._context = lambda *of: (late.append(1), make(*of))[1]
        await asyncio.sleep(10.0)

    run_virtual(main())
    assert late == [1]
    assert w.num_live_contexts == 0


def test_cancelling_the_task_reaches_the_engine_and_frees_everything(world: Worlds) -> None:
    w = world(llm={"token_s": 1.0, "replies": {"Say": "one two three four five six"}})
    ended: list[float] = []

    async def main() -> None:
        task = asyncio.create_task(w.run(CHAT, {"q": "hi"}))
        await asyncio.sleep(2.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ended.append(now())
        await asyncio.sleep(1.0)  # the aborted decodes stop at their next token
        assert w.num_live_contexts == 0
        await w.runtime.close()

    run_virtual(main())
    assert ended == [2.5]
    assert w.log.events[-1].fields["status"] == QueryCancelled.__name__


def test_a_cancelled_query_does_not_disturb_its_batch_mates(world: Worlds) -> None:
    graph = """\
    graph g {
      %v = embed "x" [engine="embedder"]
      %r = call "done" [engine="tools", fn="f"] after %v
      return %r
    }"""
    w = world(embedder={"latency_s": 1.0})

    async def main() -> Any:
        doomed = asyncio.create_task(w.run(graph, {}, {"f": str}))
        kept = asyncio.create_task(w.run(graph, {}, {"f": str}))
        await asyncio.sleep(0.5)
        doomed.cancel()
        return await kept

    assert run_virtual(main()) == ["done"]


class Answer(BaseModel):
    yes: bool


PARSE = """\
graph g {
  %c0 = context [engine="llm"]
  %c1 = prefill %c0 @user "Judge" @assistant [engine="llm"]
  %j, %c2 = decode %c1 [engine="llm", max_tokens=2]
  %v = parse %j [type="Answer"]
  return %v
}"""


def test_decoded_text_becomes_a_value_of_the_declared_type(world: Worlds) -> None:
    w = world(llm={"replies": {"Judge": '{"yes": true}'}})
    assert w.run_all(PARSE, symbols={"Answer": Answer}) == [[Answer(yes=True)]]


def test_text_of_the_wrong_shape_names_the_type_and_what_was_written(world: Worlds) -> None:
    w = world(llm={"replies": {"Judge": "yes!"}})
    (error,) = w.run_all(PARSE, symbols={"Answer": Answer})
    assert isinstance(error, OutputInvalid)
    assert "not a Answer" in str(error)
    assert "'yes!'" in str(error)


def test_text_cut_at_max_tokens_says_what_to_do(world: Worlds) -> None:
    w = world(llm={"replies": {"Judge": '{"yes": true ,  }'}})
    (error,) = w.run_all(PARSE, symbols={"Answer": Answer})
    assert "raise max_tokens" in str(error)


def test_joined_documents_show_their_number_and_metadata(world: Worlds) -> None:
    graph = """\
    graph g {
      %docs = input [type="list[Doc]"]
      %j = join %docs [template="[{i}] {text} ({source})", sep=" | "]
      return %j
    }"""
    docs = [Doc("a", metadata={"source": "x.md"}), Doc("b", metadata={"source": "y.md"})]
    assert world().run_all(graph, inputs={"docs": docs}) == [["[1] a (x.md) | [2] b (y.md)"]]


def test_a_template_field_that_is_not_there_fails_the_query(world: Worlds) -> None:
    graph = """\
    graph g {
      %docs = input [type="list[Doc]"]
      %j = join %docs [template="{author}"]
      return %j
    }"""
    (error,) = world().run_all(graph, inputs={"docs": [Doc("a")]})
    assert isinstance(error, NodeFailed)
    assert "author" in str(error)


def test_the_event_log_is_the_same_every_time(world: Worlds) -> None:
    def once() -> list[Any]:
        w = world(llm={"token_s": 0.01}, embedder={"latency_s": 0.1})
        w.run_all(CHAT, CHAT, inputs={"q": "hi"})
        return w.log.events

    assert once() == once()


def test_waiting_for_what_never_comes_is_told_apart_from_time_passing() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run_virtual(main())


def test_flattening_can_keep_the_first_of_equal_documents(world: Worlds) -> None:
    graph = """\
    graph g {
      %lists = input [type="list[list[Doc]]"]
      %f = flatten %lists [unique=true]
      return %f
    }"""
    a, b, again = Doc("x", "1", 0.9), Doc("y", "2"), Doc("x", "1", 0.1)
    assert world().run_all(graph, inputs={"lists": [[a, b], [again]]}) == [[[a, b]]]


def test_a_query_cancelled_while_its_engine_loads_never_reaches_it(world: Worlds) -> None:
    graph = """\
    graph g {
      %v = embed "x" [engine="embedder"]
      return %v
    }"""
    w = world()
    scheduler = w.runtime.scheduler("embedder", w.specs["embedder"])

    async def slow_start() -> None:
        await asyncio.sleep(1.0)

    scheduler.engine.start = slow_start

    async def main() -> None:
        with pytest.raises(QueryTimeout):
            await w.run(graph, timeout_s=0.5)
        await asyncio.sleep(1.0)

    run_virtual(main())
    assert scheduler.engine.journal == []


def test_a_context_that_somebody_got_is_theirs_when_the_query_is_cancelled(world: Worlds) -> None:
    w = world(llm={"token_s": 1.0, "replies": {"Say": "one two three four"}})
    got: dict[str, Any] = {}
    graph = CHAT.replace("return %all", "return %all, %c1")

    async def main() -> None:
        outputs = Outputs(got.__setitem__)
        task = asyncio.create_task(w.run(graph, {"q": "hi"}, outputs=outputs))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(1.0)
        assert w.num_live_contexts == 1
        got["c1"].release()
        assert w.num_live_contexts == 0
        await w.runtime.close()

    run_virtual(main())


def test_who_gets_a_text_has_its_context_already(world: Worlds) -> None:
    w = world(llm={"replies": {"Say hi": "hi there"}})
    got: dict[str, Any] = {}
    graph = CHAT.replace("return %all", "return %a, %c2")
    w.run_all(graph, inputs={"q": "hi"}, outputs=Outputs(got.__setitem__))
    assert list(got) == ["c2", "a"]


def test_values_of_bodies_are_nobodys_outputs(world: Worlds) -> None:
    graph = """
    graph g {
      %m = map ["a", "b"] {
        %item = input [type="str"]
        %inner = format "<" %item ">"
        return %inner
      }
      %all = join %m
      return %all
    }"""
    got: dict[str, Any] = {}
    (result,) = world().run_all(graph, outputs=Outputs(got.__setitem__))
    assert result == [got["all"]]
    assert list(got) == ["all"]
