"""Streams, conditions and loops, in virtual time."""

from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from backends.documents import Doc
from runtime.errors import OutputInvalid
from runtime.streaming import _Firsts
from runtime.streams import ItemStream, Pieces, in_order, whole

Worlds = Callable[..., Any]


class Queries(BaseModel):
    queries: list[str]


DECODE = """\
graph g {
  %c0 = context [engine="llm"]
  %c1 = prefill %c0 @user "Plan" @assistant [engine="llm"]
  %json, %c2 = decode %c1 [engine="llm"]
  %qs = elements ~%json [type="Queries", path=["queries"], item="str"]
  %m = map ~%qs {
    %q = input [type="str"]
    %v = embed %q [engine="embedder"]
    return %q
  }
  return %m
}"""


def test_a_finished_element_flows_on_while_the_rest_is_decoded(world: Worlds) -> None:
    reply = '{"queries": ["a", "b", "c"]}'  # four words: one second each
    w = world(llm={"token_s": 1.0, "replies": {"Plan": reply}}, embedder={"latency_s": 0.1})
    assert w.run_all(DECODE, symbols={"Queries": Queries}) == [[["a", "b", "c"]]]
    embeds = [line for line in w.log.batches().splitlines() if "embed" in line]
    assert embeds == [
        "2.000 embedder embed q1.m[0].v",
        "3.000 embedder embed q1.m[1].v",
        "4.000 embedder embed q1.m[2].v",
    ]


def test_a_streamed_text_is_still_checked_as_a_whole(world: Worlds) -> None:
    w = world(llm={"replies": {"Plan": '{"queries": ["a", 5]}'}})
    (error,) = w.run_all(DECODE, symbols={"Queries": Queries})
    assert isinstance(error, OutputInvalid)
    assert error.node == "qs"
    assert "not a Queries" in str(error)


def test_numbered_lines_flow_on_at_their_line_breaks(world: Worlds) -> None:
    lines = DECODE.replace('type="Queries", path=["queries"], item="str"', 'parser="lines"')
    w = world(llm={"token_s": 1.0, "replies": {"Plan": "Sure:\n1. first\n2) second\n- third"}})
    assert w.run_all(lines) == [[["first", "second", "third"]]]
    starts = [line.split()[0] for line in w.log.batches().splitlines() if "embed" in line]
    assert starts == ["3.000", "5.000", "7.000"]


STAGES = """\
graph g {
  %docs = input [type="list[Doc]"]
  %v = embed ~%docs [engine="embedder"]
  %i = ingest ~%docs ~%v [engine="store"]
  %hits = search %i "d" null [engine="store", k=9]
  return %hits
}"""


def test_stages_overlap_in_pieces_of_the_efficient_batch(world: Worlds) -> None:
    w = world(
        embedder={"latency_s": 1.0, "max_batch_items": 2},
        store={"latency_s": {"ingest": 1.0}, "max_batch_items": 2},
    )
    docs = [Doc(f"d {i}", str(i)) for i in range(5)]
    ((hits,),) = w.run_all(STAGES, inputs={"docs": docs})
    assert {hit.id for hit in hits} == set("01234")
    assert w.log.batches() == dedent("""\
        0.000 embedder embed q1.v#0
        1.000 store ingest q1.i#0
        1.000 embedder embed q1.v#1
        2.000 store ingest q1.i#1
        2.000 embedder embed q1.v#2
        3.000 store ingest q1.i#2
        4.000 store search q1.hits""")


def test_a_list_that_fits_one_batch_is_one_request(world: Worlds) -> None:
    w = world(embedder={"max_batch_items": 64})
    w.run_all(STAGES, inputs={"docs": [Doc("a"), Doc("b")]})
    assert "q1.v\n" in w.log.batches()


@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=4), max_size=5),
    st.randoms(use_true_random=False),
)
def test_of_equal_items_the_first_in_order_stays_whatever_comes_first(
    lists: list[list[str]], random: Any
) -> None:
    firsts, got = _Firsts(), []
    arrivals = list(enumerate(lists))
    random.shuffle(arrivals)
    for i, part in arrivals:
        got += firsts.admit([(i,)], [part])
    got += firsts.rest()
    flat = [item for _, part in sorted(got) for item in part]
    assert flat == list(dict.fromkeys(item for part in lists for item in part))


def test_an_empty_list_streams_to_an_empty_index(world: Worlds) -> None:
    assert world().run_all(STAGES, inputs={"docs": []}) == [[[]]]


def test_streamed_and_whole_runs_of_a_graph_agree(world: Worlds) -> None:
    docs = [Doc(f"w{i % 3} w{i}", str(i)) for i in range(11)]
    streamed = """\
    graph g {
      %docs = input [type="list[Doc]"]
      %m = map %docs {
        %d = input [type="Doc"]
        %p = pack %d %d
        return %p
      }
      %f = flatten ~%m
      %r = rerank "w1" ~%f [engine="reranker", k=7]
      return %r
    }"""
    options = {"reranker": {"max_batch_items": 3}}
    first = world(**options).run_all(streamed, inputs={"docs": docs})
    second = world(**options).run_all(streamed.replace("~", ""), inputs={"docs": docs})
    assert first == second


def test_a_slow_consumer_bounds_its_producer() -> None:
    made: list[int] = []
    behind = ItemStream()
    consumer = behind.reader()

    def begin(places: list[Any], columns: list[list[Any]]) -> None:
        made.extend(columns[0])
        for place, value in zip(places, columns[0], strict=True):
            behind.put(place, value)
        pieces.done(len(places))

    source = whole(range(100)).reader()
    pieces = Pieces([source], 2, 8, begin, behind.close, behind)
    pieces.pump()
    assert len(made) == 8
    consumer.take(4)
    assert len(made) == 12
    while consumer.take(10):
        pass
    assert made == list(range(100))
    assert behind.is_closed


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=6), st.randoms(use_true_random=False))
def test_places_restore_the_order_of_nested_items(lists: list[list[int]], random: Any) -> None:
    items = [((i, j), value) for i, inner in enumerate(lists) for j, value in enumerate(inner)]
    random.shuffle(items)
    assert in_order(items) == [value for inner in lists for value in inner]


@given(
    st.lists(st.sampled_from("ab"), max_size=30),
    st.integers(1, 5),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_two_sources_meet_item_by_item_in_any_order(
    turns: list[str], size: int, window: int, random: Any
) -> None:
    count = len(turns)
    left, right = ItemStream(), ItemStream()
    met: list[tuple[Any, Any]] = []
    finished: list[bool] = []

    def begin(places: list[Any], columns: list[list[Any]]) -> None:
        assert len(places) <= size
        met.extend(zip(*columns, strict=True))
        pieces.done(len(places))

    pieces = Pieces(
        [left.reader(), right.reader()], size, window, begin, lambda: finished.append(True)
    )
    puts = [
        (stream, (i,), (name, i))
        for i in range(count)
        for stream, name in ((left, "l"), (right, "r"))
    ]
    random.shuffle(puts)
    for stream, place, value in puts:
        stream.put(place, value)
    assert not finished
    left.close()
    right.close()
    assert finished == [True]
    assert sorted(met) == [(("l", i), ("r", i)) for i in range(count)]


COND = """\
graph g {
  %x = input [type="str"]
  %flag = call %x [engine="tools", fn="judge"]
  %y = cond %flag %x {
    %x = input [type="str"]
    %a = call %x [engine="tools", fn="yes"]
    return %a
  } else {
    %x = input [type="str"]
    %b = call %x [engine="tools", fn="no"]
    return %b
  }
  return %y
}"""


@pytest.mark.parametrize(
    ("flag", "answer", "ran"), [(1, "YES x", "y{then}.a"), ("", "NO x", "y{else}.b")]
)
def test_a_condition_runs_the_chosen_branch_only(
    world: Worlds, flag: object, answer: str, ran: str
) -> None:
    w = world()
    symbols = {"judge": lambda x: flag, "yes": lambda x: f"YES {x}", "no": lambda x: f"NO {x}"}
    assert w.run_all(COND, inputs={"x": "x"}, symbols=symbols) == [[answer]]
    assert [line.split("q1.")[1] for line in w.log.batches().splitlines()] == ["flag", ran]


LOOP = """\
graph g {
  %n = input [type="int"]
  %end = loop %n [max=4] {
    %s = input [type="int"]
    %next = call %s [engine="tools", fn="step"]
    %again = call %next [engine="tools", fn="more"]
    return %next, %again
  }
  return %end
}"""


@pytest.mark.parametrize(("until", "end", "turns"), [(2, 2, 2), (99, 4, 4), (0, 1, 1)])
def test_a_loop_goes_on_until_it_says_stop_or_its_bound(
    world: Worlds, until: int, end: int, turns: int
) -> None:
    w = world()
    symbols = {"step": lambda s: s + 1, "more": lambda s: s < until}
    assert w.run_all(LOOP, inputs={"n": 0}, symbols=symbols) == [[end]]
    assert w.log.batches().count(".next") == turns


def test_a_failure_inside_a_stream_frees_everything(world: Worlds) -> None:
    w = world(
        llm={"token_s": 1.0, "replies": {"Plan": '{"queries": ["a", "b", "c"]}'}},
        embedder={"fail": {"embed": "no memory"}},
    )
    (error,) = w.run_all(DECODE, symbols={"Queries": Queries})
    assert "no memory" in str(error)
    assert w.num_live_contexts == 0
