import json

from viewer_query import EVENTS, demo, drawn, trace_of

from teola.viewer.page import page
from teola.viewer.reading import TraceFile
from teola.viewer.to_json import file_as_json


def test_a_page_has_header_calls_engines_and_critical_path_in_this_order() -> None:
    drawing = drawn(page(demo(), 100))
    places = [
        drawing.index(word) for word in ("demo  query", "calls ─", "engines  ", "critical path")
    ]

    assert places == sorted(places)


def test_a_page_of_a_query_without_primitives_is_its_header() -> None:
    assert "calls" not in drawn(page(trace_of([EVENTS[0], EVENTS[-1]]), 100))


def test_the_json_of_a_trace_holds_spans_calls_and_critical_path() -> None:
    (query,) = json.loads(json.dumps(file_as_json(TraceFile((demo(),)))))["queries"]

    assert [call["path"] for call in query["calls"]] == ["expand", "map", "answer"]
    assert query["calls"][1]["calls"][0]["path"] == "map/search"
    assert query["critical_path"]["steps"][-1]["node"] == "answer"
    assert query["spans"][-1]["deps"] == ["answer.prompt"]
