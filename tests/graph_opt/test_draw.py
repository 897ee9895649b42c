import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from graph_strategies import ANY_ATTRS, ANY_TEXT, graphs, patient
from graph_text import graph
from hypothesis import given

from graph_opt.analysis.user_calls import CallEdge, user_calls
from graph_opt.draw import to_dot, to_json, to_mermaid, to_outline
from graph_opt.graph import Graph, Node, Origin
from graph_opt.rewrite import rewrite

CALLS = {
    "c0": "expand",
    "c1": "expand",
    "t": "expand",
    "queries": "expand",
    "v": "search",
    "h": "search",
    "index": "ingest",
}
LINES = """
    %question = input [type="str"]
    %index = ingest %question null [engine="s"]
    %c0 = context [engine="m"]
    %c1 = prefill %c0 "say \\"hi\\" <b>\\n" %question [engine="m"]
    %t, %c2 = decode %c1 [engine="m"]
    %queries = parse %t [type="Queries"]
    %list = get %queries [path=["queries"]]
    %m = map %list %index after %index {
      %q = input [type="str"]
      %i = input [type="Index"]
      %v = embed %q [engine="e"]
      %h = search %i %q %v [engine="s"]
      return %h
    }
    %flat = flatten %m
    return %flat
"""


def _app() -> Graph:
    lines = {call: number for number, call in enumerate(("ingest", "expand", "search"), 10)}

    def place(node: Node, _: Graph) -> list[Node] | None:
        call = CALLS.get(node.name)
        return [replace(node, origin=Origin(call, "app.py", lines[call]))] if call else None

    return rewrite(graph(LINES), place)


def test_primitives_are_grouped_by_the_users_call() -> None:
    calls, edges = user_calls(_app())
    assert [(call.id, call.name, call.ops, call.in_map) for call in calls] == [
        ("c0", "question", ("input",), False),
        ("c1", "ingest", ("ingest",), False),
        ("c2", "expand", ("context", "prefill", "decode", "parse"), False),
        ("c3", "search", ("embed", "search"), True),
    ]
    assert edges == (
        CallEdge("c0", "c1", "data"),
        CallEdge("c0", "c2", "data"),
        CallEdge("c2", "c3", "data"),
        CallEdge("c1", "c3", "data"),
    )


def test_the_outline_is_one_line_a_call() -> None:
    assert to_outline(_app()) == (
        "g\n"
        "  question\n"
        "  ingest  app.py:10  (ingest)  <- question\n"
        "  expand  app.py:11  (context prefill decode parse)  <- question\n"
        "  search  app.py:12  (for each item: embed search)  <- expand, ingest\n"
    )


def test_mermaid_escapes_what_it_would_read_as_markup() -> None:
    text = to_mermaid(_app())
    assert text.startswith("flowchart TD\n")
    assert "#60;b#62;" in text
    assert "<b>" not in text
    assert "subgraph n7[" in text
    assert '  n0 -->|"question"| n1\n' in text
    assert "  n1 -.-> n7\n" in text


def test_the_mermaid_of_calls_is_small() -> None:
    text = to_mermaid(_app(), by_call=True)
    assert '  c2["expand<br/>app.py:11<br/>(context prefill decode parse)"]\n' in text
    assert "  c2 --> c3\n" in text


def test_dot_escapes_strings_and_nests_bodies() -> None:
    text = to_dot(_app())
    assert text.startswith('digraph "g" {\n')
    assert r"say \\\"hi\\\" <b>\\n" in text
    assert "subgraph cluster_n7 {" in text
    assert '  n1 -> n7 [label="", style=dashed];\n' in text
    assert text.count("{") == text.count("}")


def test_json_holds_nodes_edges_bodies_and_origins() -> None:
    drawn = to_json(_app())
    assert json.loads(json.dumps(drawn)) == drawn
    nodes = {node["name"]: node for node in drawn["nodes"]}
    assert nodes["c1"]["engine_kind"] == "llm"
    assert nodes["c1"]["origin"] == {"call": "expand", "file": "app.py", "line": 11}
    assert nodes["index"]["effects"] is True
    assert [node["name"] for node in nodes["m"]["body"]["nodes"]] == ["q", "i", "v", "h"]
    assert {"source": "t", "target": "queries", "kind": "data", "value": "t"} in drawn["edges"]
    assert {"source": "index", "target": "m", "kind": "control", "value": ""} in drawn["edges"]
    assert drawn["outputs"] == ["flat"]
    by_call = to_json(_app(), by_call=True)
    assert {"source": "c1", "target": "c3", "kind": "data"} in by_call["edges"]
    assert by_call["nodes"][3]["in_map"] is True


@pytest.mark.parametrize("draw", [to_mermaid, to_dot, lambda g: json.dumps(to_json(g))])
@patient
@given(random=graphs(ANY_TEXT, ANY_ATTRS))
def test_any_graph_can_be_drawn(draw: Callable[[Graph], str], random: Graph) -> None:
    assert draw(random).encode()
