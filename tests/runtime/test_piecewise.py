"""Engine work in pieces, in virtual time."""

from collections.abc import Callable
from textwrap import dedent
from typing import Any

from backends.documents import Doc

Worlds = Callable[..., Any]

STAGES = """\
graph g {
  %docs = input [type="list[Doc]"]
  %v = embed ~%docs [engine="embedder"]
  %m = map ~%v {
    %row = input [type="Any"]
    %n = call %row [engine="tools", fn="size", pure=true]
    return %n
  }
  return %m
}"""
SYMBOLS = {"size": len}


def test_stages_overlap_in_pieces_of_the_efficient_batch(world: Worlds) -> None:
    w = world(
        embedder={"latency_s": 1.0, "max_batch_items": 2},
        tools={"latency_s": 1.0, "max_batch_items": 2},
    )
    docs = [Doc(f"d {i}", str(i)) for i in range(5)]
    ((sizes,),) = w.run_all(STAGES, inputs={"docs": docs}, symbols=SYMBOLS)
    assert len(sizes) == 5
    assert w.log.batches() == dedent("""\
        0.000 embedder embed q1.v#0
        1.000 embedder embed q1.v#1
        1.000 tools call q1.m[0].n q1.m[1].n
        2.000 embedder embed q1.v#2
        2.000 tools call q1.m[2].n q1.m[3].n
        3.000 tools call q1.m[4].n""")


def test_a_list_that_fits_one_batch_is_one_request(world: Worlds) -> None:
    w = world(embedder={"max_batch_items": 64})
    w.run_all(STAGES, inputs={"docs": [Doc("a"), Doc("b")]}, symbols=SYMBOLS)
    assert "q1.v\n" in w.log.batches()


def test_an_empty_list_streams_to_an_empty_list(world: Worlds) -> None:
    assert world().run_all(STAGES, inputs={"docs": []}, symbols=SYMBOLS) == [[[]]]


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
