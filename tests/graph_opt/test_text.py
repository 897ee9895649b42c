import pytest
from graph_strategies import ANY_ATTRS, ANY_TEXT, graphs, patient
from hypothesis import given

from graph_opt.errors import GraphError
from graph_opt.graph import Graph, Node, Origin
from graph_opt.text import parse, to_text

RAG = r"""graph rag {
  %question = input [type="str"]
  %c0 = context [engine="llm"]
  %c1 = prefill %c0 @user "Write \"3\" # queries:\n" @sp %question @assistant [engine="llm"]
  %t1, %c2 = decode %c1 [engine="llm", max_tokens=128, temperature=-0.5, top_p=1e-07]
  %p = pack [1, 2] {"é": [null, true]} {} [] "after" %t1 after %t1, %c1
  %hits = map %p %question [order="sequential"] after %t1 {
    %q = input [type="str"]
    %index.0 = input [type="Index"]
    %inner = map %q {
      %x = input [type="str"]
      return %x
    }
    return %inner
  }
  %items = elements ~%t1 [parser="lines"]
  %v = embed ~%items [engine="e"]
  %judged = cond %t1 %question {
    %q = input [type="str"]
    return %q
  } else {
    %q = input [type="str"]
    %last = loop %q [max=3] {
      %state = input [type="str"]
      return %state, %state
    }
    return %last
  }
  return %hits, %t1
}"""


def test_text_is_kept_to_the_letter() -> None:
    assert str(parse(RAG)) == RAG


@patient
@given(graphs(ANY_TEXT, ANY_ATTRS))
def test_parse_is_the_inverse_of_str(graph: Graph) -> None:
    text = str(graph)
    assert parse(text) == graph
    assert str(parse(text)) == text


def test_comments_blank_lines_and_spaces_are_ignored() -> None:
    loose = RAG.replace("\n", "  # a comment { } return\n\n\t# another\n")
    assert parse(f"\n# first\n{loose}\n\n# last") == parse(RAG)
    assert parse(RAG.replace("\n", "\r\n")) == parse(RAG)


def test_origins_are_comments() -> None:
    node = Node(("q",), "const", (), {"value": 1}, origin=Origin("expand", "app.py", 12))
    graph = Graph("g", (node,), ("q",))
    text = "graph g {\n  %q = const [value=1]  # expand app.py:12\n  return %q\n}"
    assert to_text(graph) == text
    assert parse(text) == graph
    assert "#" not in str(graph)


def test_an_origin_cannot_break_the_line() -> None:
    origin = Origin("f", "a\nb\u2028.py", 1)
    graph = Graph("g", (Node(("q",), "const", (), {"value": 1}, origin=origin),), ("q",))
    assert parse(to_text(graph)) == graph
    assert len(to_text(graph).splitlines()) == 4


@pytest.mark.parametrize("name", ["rag", "my app", "<lambda>", "", 'a"b{', "été"])
def test_any_name_of_a_graph_survives(name: str) -> None:
    assert parse(str(Graph(name, (), ()))).name == name


def test_text_can_be_encoded_and_split_whatever_is_in_it() -> None:
    graph = Graph("g", (Node(("q",), "const", (), {"value": "\ud800\u2028\x85é"}),), ("q",))
    assert str(graph).encode().decode() == str(graph)
    assert len(str(graph).splitlines()) == 4
    assert parse(str(graph)) == graph


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grph x {", "line 1, column 1: expected `graph` in 'grph x {'"),
        ("graph {", "line 1, column 7: expected a name for the graph"),
        ("graph g {\n  oops\n}", "line 2, column 3: expected a node `%name = op ...` or `return`"),
        ("graph g {\n  %a const\n}", "line 2, column 6: expected `=` in '%a const'"),
        ("graph g {\n  %a = 3\n}", "line 2, column 8: expected the name of an op"),
        ("graph g {\n  %a = format x\n}", "column 15: expected a %value, an @marker or a JSON"),
        ("graph g {\n  %a = format [a=1, 2]\n}", "column 21: expected `key=value`"),
        ("graph g {\n  %a = format [a=1 2]\n}", "column 20: expected `,` or `]` after an attr"),
        ("graph g {\n  %a = format [a=1] %b\n}", "expected [attrs] once, `after`"),
        ("graph g {\n  %a = format after\n}", "line 2, column 20: expected a %value"),
        ("graph g {\n  return %a %b\n}", "expected the end of the line after `return`"),
        ("graph g {\n  return\n", "line 3, column 1: expected `}` after `return`"),
        (
            "graph g {\n  %a = format {\n    return\n  } else\n",
            "expected `{` and the end of the line",
        ),
        ("graph g {\n  %a = embed ~ %b\n}", "column 14: expected a %value, an @marker or a JSON"),
        ("graph g {\n  return\n} %a", "line 3, column 3: expected nothing more"),
        ("graph g {\n  %a = format {\n    return\n", "expected `}` after `return`"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text: str, message: str) -> None:
    with pytest.raises(GraphError) as error:
        parse(text)
    assert message in str(error.value)
