import json
from dataclasses import replace

from graph_strategies import ANY_ATTRS, ANY_TEXT, graphs, patient
from graph_text import graph
from hypothesis import given, settings

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


@settings(patient, max_examples=20)
@given(random=graphs(ANY_TEXT, ANY_ATTRS))
def test_any_graph_can_be_drawn(random: Graph) -> None:
    drawn = to_json(random)
    assert json.loads(json.dumps(drawn)) == drawn
    assert [node["name"] for node in drawn["nodes"]] == [node.name for node in random.nodes]
    for text in (to_mermaid(random), to_dot(random)):
        assert all(f"n{i}" in text for i in range(len(random.nodes)))


BRANCHED = """
    %q = input [type="list"]
    %m = map %q {
      %x = input [type="str"]
      return %x
    }
    %f = flatten ~%m
    %a = cond %f %q after %m {
      %x = input [type="str"]
      return %x
    } else {
      %x = input [type="str"]
      %y = embed %x [engine="e"]
      return %y
    }
    return %a
"""


def test_streams_are_thick_and_branches_are_boxes_of_their_own() -> None:
    mermaid, dot = to_mermaid(graph(BRANCHED)), to_dot(graph(BRANCHED))
    assert '  n1 ==>|"m"| n2\n' in mermaid
    assert '    subgraph n3_1["else"]\n' in mermaid
    assert '  n1 -> n2 [label="m", style=bold];\n' in dot
    assert '    subgraph cluster_n3_0 { label="then";\n' in dot
    assert dot.count("{") == dot.count("}")


def test_json_tells_streams_and_holds_both_branches() -> None:
    drawn = to_json(graph(BRANCHED))
    assert {"source": "m", "target": "f", "kind": "stream", "value": "m"} in drawn["edges"]
    branches = drawn["nodes"][3]["branches"]
    assert [len(branch["nodes"]) for branch in branches] == [1, 2]
    assert drawn["nodes"][3]["body"] is None


def test_calls_of_a_branch_come_after_what_its_condition_comes_from() -> None:
    lines = """
        %q = input [type="str"]
        %judge = call %q [fn="judge"]
        %a = cond %judge %q {
          %x = input [type="str"]
          %find = search null %x [engine="s"]
          return %find
        } else {
          %x = input [type="str"]
          return %x
        }
        %answer = call %a [fn="answer"]
        return %answer
    """

    def place(node: Node, _: Graph) -> list[Node] | None:
        if node.op not in ("call", "search"):
            return None
        return [replace(node, origin=Origin(node.name, "app.py", 1))]

    assert to_outline(rewrite(graph(lines), place)) == (
        "g\n"
        "  q\n"
        "  judge  app.py:1  (call)  <- q\n"
        "  find  app.py:1  (search)  <- q, judge\n"
        "  answer  app.py:1  (call)  <- q, find\n"
    )
