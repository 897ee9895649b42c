"""Elements of a text that is still decoded, in virtual time."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from frontend_dsl.element_types import element_type
from runtime.errors import OutputInvalid

Worlds = Callable[..., Any]


class Queries(BaseModel):
    queries: list[str]


SYMBOLS = {"Queries": Queries, "items": element_type(Queries, ("queries",))}
DECODE = """\
graph g {
  %c0 = context [engine="llm"]
  %c1 = prefill %c0 @user "Plan" @assistant [engine="llm"]
  %json, %c2 = decode %c1 [engine="llm"]
  %qs = elements ~%json [type="Queries", path=["queries"], items="items"]
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
    assert w.run_all(DECODE, symbols=SYMBOLS) == [[["a", "b", "c"]]]
    embeds = [line for line in w.log.batches().splitlines() if "embed" in line]
    assert embeds == [
        "2.000 embedder embed q1.m[0].v",
        "3.000 embedder embed q1.m[1].v",
        "4.000 embedder embed q1.m[2].v",
    ]


def test_a_streamed_text_is_still_checked_as_a_whole(world: Worlds) -> None:
    w = world(llm={"replies": {"Plan": '{"queries": ["a", 5]}'}})
    (error,) = w.run_all(DECODE, symbols=SYMBOLS)
    assert isinstance(error, OutputInvalid)
    assert error.node == "qs"
    assert "not a Queries" in str(error)


def test_numbered_lines_flow_on_at_their_line_breaks(world: Worlds) -> None:
    lines = DECODE.replace('type="Queries", path=["queries"], items="items"', 'parser="lines"')
    w = world(llm={"token_s": 1.0, "replies": {"Plan": "Sure:\n1. first\n2) second\n- third"}})
    assert w.run_all(lines) == [[["first", "second", "third"]]]
    starts = [line.split()[0] for line in w.log.batches().splitlines() if "embed" in line]
    assert starts == ["3.000", "5.000", "7.000"]


def test_a_failure_inside_a_stream_frees_everything(world: Worlds) -> None:
    w = world(
        llm={"token_s": 1.0, "replies": {"Plan": '{"queries": ["a", "b", "c"]}'}},
        embedder={"fail": {"embed": "no memory"}},
    )
    (error,) = w.run_all(DECODE, symbols=SYMBOLS)
    assert "no memory" in str(error)
    assert w.num_live_contexts == 0
