from dataclasses import replace

from viewer_query import EVENTS, demo

from teola.viewer.model import Trace
from teola.viewer.reading import TraceFile
from teola.viewer.web.difference import difference, pairs


def named(*apps: str) -> tuple[Trace, ...]:
    return tuple(replace(demo(), app=app, query=f"q{n}") for n, app in enumerate(apps))


def test_queries_of_one_app_answer_to_each_other_in_order() -> None:
    assert pairs(named("a", "b", "a"), named("b", "a")) == [(0, 1), (2, None), (1, 0)]


def test_queries_of_different_apps_are_compared_in_order() -> None:
    assert pairs(named("a", "b"), named("c")) == [(0, 0), (1, None)]


def test_a_primitive_is_summed_over_its_runs_in_each_file() -> None:
    one = demo()
    fewer = replace(one, spans=tuple(s for s in one.spans if s.node != "hits[1].search"))
    rows = difference(TraceFile((one,)), TraceFile((fewer,)))["rows"]
    (search,) = (row["sides"] for row in rows if row["name"] == "hits[].search")

    assert [side["num_runs"] for side in search] == [2, 1]
    assert [side["run_s"] for side in search] == [0.04, 0.02]
    assert [side["queue_s"] for side in search] == [0.1, 0]


def test_totals_are_those_of_all_queries_of_a_file() -> None:
    later = replace(demo(), query="q2", queries=("q2",), began_t=102.0)
    first, second = difference(TraceFile((demo(),)), TraceFile((demo(), later)))["totals"]

    assert (first["num_spans"], second["num_spans"]) == (len(demo().spans), 2 * len(demo().spans))
    assert (first["duration_s"], second["duration_s"]) == (1.0, 3.0)
    assert second["usage"]["decode_tokens"] == 2 * sum(
        event.fields.get("decode_tokens", 0) for event in EVENTS if event.kind == "end"
    )
