"""Bodies open before all they capture is there; only what reads a late value waits for it."""

from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

from backends.documents import Doc
from graph_opt.analysis.begin import late_captures
from graph_opt.text import parse
from runtime.clock import run_virtual
from runtime.errors import NodeFailed, QueryTimeout

Worlds = Callable[..., Any]

DOCS = [Doc("red"), Doc("blue")]
INPUTS = {"docs": DOCS, "qs": ["red", "blue"]}

# docs -- slow (1 s) -- ingest index --.
# qs ------------------- map: embed v -+- search hits
SEARCHES = """\
graph g {
  %docs = input [type="list[Doc]"]
  %qs = input [type="list[str]"]
  %slow = call %docs [engine="tools", fn="slow"]
  %index = ingest %slow null [engine="store"]
  %m = map %qs %index {
    %q = input [type="str"]
    %i = input [type="Index"]
    %v = embed %q [engine="embedder"]
    %hits = search %i %q %v [engine="store", k=1]
    return %hits
  }
  return %m
}"""
SLOW = {"tools": {"latency_s": 1.0}, "embedder": {"latency_s": 0.1}, "store": {"latency_s": 0.1}}
SYMBOLS = {"slow": lambda docs: docs, "always": lambda *_: True}


def texts(found: Any) -> Any:
    return [[doc.text for doc in docs] for docs in found]


def test_what_does_not_read_a_late_capture_runs_at_once_and_the_values_are_right(
    world: Worlds,
) -> None:
    w = world(**SLOW)
    ((found,),) = w.run_all(SEARCHES, inputs=INPUTS, symbols=SYMBOLS)
    assert texts(found) == [["red"], ["blue"]]
    assert w.log.batches() == dedent("""\
        0.000 tools call q1.slow
        0.000 embedder embed q1.m[0].v q1.m[1].v
        1.000 store ingest q1.index
        1.100 store search q1.m[0].hits q1.m[1].hits""")


def test_a_sequential_map_keeps_the_programs_order_and_waits_for_all(world: Worlds) -> None:
    w = world(**SLOW)
    plain = SEARCHES.replace("%index {", '%index [order="sequential"] {')
    ((found,),) = w.run_all(plain, inputs=INPUTS, symbols=SYMBOLS)
    assert texts(found) == [["red"], ["blue"]]
    assert "1.100 embedder embed q1.m[0].v" in w.log.batches().splitlines()


def test_a_map_over_nothing_still_ends_after_what_it_captures(world: Worlds) -> None:
    graph = SEARCHES.replace(
        "return %m\n}", '%end = call %m [engine="tools", fn="slow"]\n  return %end\n}'
    )
    w = world(**SLOW)
    assert w.run_all(graph, inputs={"docs": DOCS, "qs": []}, symbols=SYMBOLS) == [[[]]]
    assert w.log.batches().splitlines()[-1] == "1.100 tools call q1.end"


def test_items_that_come_one_by_one_open_their_bodies_at_once(world: Worlds) -> None:
    graph = (
        SEARCHES.replace("map %qs", "map ~%qs")
        .replace('%qs = input [type="list[str]"]', "")
        .replace(
            "%slow =",
            """%c0 = context [engine="llm"]
  %c1 = prefill %c0 "List" [engine="llm"]
  %t, %c2 = decode %c1 [engine="llm"]
  %qs = elements ~%t [parser="lines"]
  %slow =""",
        )
    )
    w = world(llm={"token_s": 0.2, "replies": {"List": "1. red\n2. blue\n"}}, **SLOW)
    ((found,),) = w.run_all(graph, inputs={"docs": DOCS}, symbols=SYMBOLS)
    assert texts(found) == [["red"], ["blue"]]
    embeds = [line for line in w.log.batches().splitlines() if " embed " in line]
    assert embeds == ["0.400 embedder embed q1.m[0].v", "0.800 embedder embed q1.m[1].v"]


NESTED = """\
graph g {
  %docs = input [type="list[Doc]"]
  %qs = input [type="list[list[str]]"]
  %slow = call %docs [engine="tools", fn="slow"]
  %index = ingest %slow null [engine="store"]
  %m = map %qs %index {
    %some = input [type="list[str]"]
    %i = input [type="Index"]
    %in = map %some %i {
      %q = input [type="str"]
      %j = input [type="Index"]
      %v = embed %q [engine="embedder"]
      %hits = search %j %q %v [engine="store", k=1]
      return %hits
    }
    return %in
  }
  return %m
}"""


def test_a_late_capture_is_handed_on_to_bodies_in_bodies(world: Worlds) -> None:
    w = world(**SLOW)
    inputs = {"docs": DOCS, "qs": [["red"], ["blue", "red"]]}
    ((found,),) = w.run_all(NESTED, inputs=inputs, symbols=SYMBOLS)
    assert [texts(each) for each in found] == [[["red"]], [["blue"], ["red"]]]
    assert w.log.batches().splitlines()[1].startswith("0.000 embedder embed q1.m[0].in[0].v")


BOTH = """\
    %s = input [type="str"]
    %a = input [type="str"]
    %v = embed %s [engine="embedder"]
    %out = format %s %a after %v"""

COND = f"""\
graph g {{
  %q = input [type="str"]
  %slow = call %q [engine="tools", fn="slow"]
  %r = cond true %q %slow {{
{BOTH}
    return %out
  }} else {{
    %s = input [type="str"]
    %a = input [type="str"]
    return %s
  }}
  return %r
}}"""

LOOP = f"""\
graph g {{
  %q = input [type="str"]
  %slow = call %q [engine="tools", fn="slow"]
  %r = loop %q %slow [max=2] {{
{BOTH}
    return %out, %out
  }}
  return %r
}}"""


def test_a_branch_begins_before_its_captures_are_there(world: Worlds) -> None:
    w = world(**SLOW)
    assert w.run_all(COND, inputs={"q": "x"}, symbols=SYMBOLS) == [["xx"]]
    assert "0.000 embedder embed q1.r{then}.v" in w.log.batches()


def test_a_branch_that_reads_no_capture_still_ends_after_all(world: Worlds) -> None:
    graph = COND.replace("cond true", "cond false").replace(
        "return %r", '%end = call %r [engine="tools", fn="slow"]\n  return %end'
    )
    w = world(**SLOW)
    assert w.run_all(graph, inputs={"q": "x"}, symbols=SYMBOLS) == [["x"]]
    assert w.log.batches().splitlines()[-1] == "1.000 tools call q1.end"


def test_the_first_turn_of_a_loop_begins_before_its_captures_are_there(world: Worlds) -> None:
    w = world(**SLOW)
    assert w.run_all(LOOP, inputs={"q": "x"}, symbols=SYMBOLS) == [["xxx"]]
    assert w.log.batches().splitlines()[1:] == [
        "0.000 embedder embed q1.r[0].v",
        "1.000 embedder embed q1.r[1].v",
    ]


CONTEXTS = """\
graph g {
  %qs = input [type="list[str]"]
  %slow = call %qs [engine="tools", fn="slow"]
  %c0 = context [engine="llm"]
  %c1 = prefill %c0 "Say" %slow [engine="llm"]
  %m = map %qs %c1 {
    %q = input [type="str"]
    %c = input [type="context"]
    %v = embed %q [engine="embedder"]
    %t, %d = decode %c [engine="llm"]
    %both = pack %t %q
    return %both
  }
  return %m
}"""


def test_a_late_context_is_forked_by_all_items_and_freed(world: Worlds) -> None:
    w = world(llm={"replies": {"Say": "hi"}}, **SLOW)
    ((found,),) = w.run_all(CONTEXTS, inputs={"qs": ["a", "b"]}, symbols=SYMBOLS)
    assert found == [["hi", "a"], ["hi", "b"]]
    assert w.num_live_contexts == 0


def test_a_late_capture_that_fails_fails_the_query_and_frees_everything(world: Worlds) -> None:
    def boom(_: object) -> None:
        raise KeyError("no such file")

    (error,) = world(**SLOW).run_all(SEARCHES, inputs=INPUTS, symbols={"slow": boom})
    assert isinstance(error, NodeFailed)
    assert error.node == "slow"


def test_a_body_that_fails_early_fails_the_query_once_the_capture_before_it_is_there(
    world: Worlds,
) -> None:
    w = world(**{**SLOW, "embedder": {"latency_s": 0.1, "fail": {"embed": "no memory"}}})
    (error,) = w.run_all(SEARCHES, inputs=INPUTS, symbols=SYMBOLS)
    assert isinstance(error, NodeFailed)
    assert error.node == "m[0].v"
    assert w.log.events[-1].t == pytest.approx(1.1)  # the index may fail until then


def test_a_query_that_ends_while_bodies_wait_leaves_nothing(world: Worlds) -> None:
    w = world(llm={"replies": {"Say": "hi"}}, **SLOW)

    async def main() -> None:
        with pytest.raises(QueryTimeout):
            await w.run(CONTEXTS, {"qs": ["a"]}, SYMBOLS, timeout_s=0.5)
        await w.runtime.close()
        assert w.num_live_contexts == 0

    run_virtual(main())


def late(text: str) -> dict[str, set[str]]:
    return {name: set(makers) for name, makers in late_captures(parse(text)).items()}


def test_only_what_touches_nothing_outside_may_begin_before_its_captures() -> None:
    assert late(SEARCHES) == {"m": {"index"}}
    reads_all = SEARCHES.replace("search %i", "search null")
    assert late(reads_all) == {}, "the search sees what others write"
    impure = SEARCHES.replace("%v = embed %q [engine", '%v = call %q [fn="slow", engine')
    assert late(impure) == {}
    told = SEARCHES.replace(
        "  return %m\n}",
        """
  %w = map ~%m {
    %x = input [type="str"]
    %y = search null %x [engine="other"]
    return %y
  }
  return %w
}""",
    )
    assert late(told) == {}, "who takes the items as they come looks before the capture is there"
    ordered = SEARCHES.replace("%index {", "%index after %index {")
    assert late(ordered) == {"m": set()}
