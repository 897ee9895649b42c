from pathlib import Path
from textwrap import dedent

from viewer_query import EVENTS, at, demo, drawn, trace_of

import teola as tl
from teola.viewer.model import whole_usage
from teola.viewer.reading import read_trace_file
from teola.viewer.tree import tree


def text(expected: str) -> str:
    return dedent(expected).strip("\n").rstrip()


def test_calls_are_a_tree_with_time_share_tokens_and_place() -> None:
    assert drawn(tree(demo(), 100)) == text(
        """
        call         start    time  critical  prefill  cached  decode  where
        ───────────────────────────────────────────────────────────────────────
        expand     10.0 ms  390 ms       40%       40              12  app.py:7
        map         410 ms  210 ms       22%                           app.py:8
        └─ search   410 ms  210 ms       22%                           app.py:8
        answer      620 ms  360 ms       36%      100      60      30  app.py:9
        """
    )


def test_primitives_stand_under_their_calls_and_fit_80_columns() -> None:
    assert drawn(tree(demo(), 80, with_primitives=True), 80) == text(
        """
        call                           start     time  critical  prefill  cached  decode
        ────────────────────────────────────────────────────────────────────────────────
        expand                       10.0 ms   390 ms       40%       40              12
        ├─ expand.prompt prefill     10.0 ms  90.0 ms       10%       40
        └─ expand decode              100 ms   300 ms       30%                       12
        map                           410 ms   210 ms       22%
        └─ search                     410 ms   210 ms       22%
           ├─ hits[0].vector embed    410 ms  90.0 ms
           ├─ hits[1].vector embed    410 ms  90.0 ms       10%
           ├─ hits[0].search search   500 ms  20.0 ms
           └─ hits[1].search search   500 ms   120 ms       12%
        answer                        620 ms   360 ms       36%      100      60      30
        ├─ answer.prompt prefill      620 ms  80.0 ms        8%      100      60
        └─ answer decode              700 ms   280 ms       28%                       30
        """
    )


def test_a_failed_primitive_is_marked() -> None:
    begun = [event for event in EVENTS if event.t < 100.65]
    failed = at(0.65, "error", "answer.prompt", "prefill", error="EngineError: no room")

    assert "answer.prompt prefill failed" in drawn(tree(trace_of([*begun, failed]), 100, True))


def test_a_primitive_names_the_endpoint_that_answered_of_several() -> None:
    begun = [event for event in EVENTS if event.t < 100.65]
    ended = at(0.65, "end", "answer.prompt", "prefill", endpoint="http://gpu2:8000")

    drawing = drawn(tree(trace_of([*begun, ended]), 100, True))
    assert "answer.prompt prefill at gpu2:8000" in drawing


def test_a_long_name_is_cut_and_no_number_is() -> None:
    drawing = drawn(tree(demo(), 72, with_primitives=True), 72)

    assert "expand.prompt p…" in drawing
    assert drawing.count("…") < 14
    assert "90.0 ms" in drawing


def test_an_app_inside_the_query_stands_under_its_call(tmp_path: Path) -> None:
    llm = tl.LLM("fake:", replies={"": "one two"})

    @tl.prompt(llm)
    def ask(text: str) -> str:
        return f"Ask {text}"

    @tl.app
    async def inner(text: str) -> str:
        first = await tl.value(ask(text))
        return ask(f"again {first}")

    @tl.app
    def outer(texts: list[str]) -> list[str]:
        return tl.map(inner, texts)

    path = tmp_path / "trace.jsonl"
    outer.using(trace=str(path), memo=False)(["a"])
    trace, *inside = read_trace_file(path).traces
    assert len(inside) == 2
    lines = drawn(tree(trace, 100)).splitlines()[2:]
    assert ["inner" in lines[1], "ask" in lines[2], "ask" in lines[3]] == [True, True, True]
    assert lines[1].split()[-2] == str(whole_usage(trace).decode_tokens) == "4"
