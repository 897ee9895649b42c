import pytest
from graph_text import graph

from graph_opt.errors import GraphError
from graph_opt.graph import Graph, Node, Origin, Ref
from graph_opt.text import parse

MAP_OF_CONTEXT = """
%a = map %q %c {{
  %x = input [type="str"]
  %d = input [type="{type}"]
  return %{result}
}}
return"""

LOOP = '%x = input [type="str"]\n  return %x, %x\n}\nreturn'

MAP_THAT_RETURNS_A_CONTEXT = """
%a = map %q {
  %x = input [type="str"]
  %e = context [engine="m"]
  %t, %d = decode %e [engine="m"]
  return %d
}
return
"""
WRONG = [
    ("%x = const [value=1]\n%x = const [value=2]\nreturn", "%x is defined twice"),
    ('%t, %t = decode %c [engine="m"]\nreturn', "%t is defined twice"),
    ("%a = format %b\n%b = const [value=1]\nreturn", "reads %b, which no earlier node makes"),
    ("%a = format %a\nreturn", "reads %a, which no earlier node makes"),
    ("%a = format after %b\nreturn", "is after %b, which names no earlier node"),
    (
        '%t, %d = decode %c [engine="m"]\n%a = format after %d\nreturn',
        "is after %d, which names no earlier node",
    ),
    ('%t, %s, %d = select %q ["a"] [engine="m"]\nreturn', "its first arg must be a context"),
    ('%t, %s, %d = select %c ["a", ""] [engine="m"]\nreturn', "a list of texts, none empty"),
    ('%t, %s, %d = select %c "ab" [engine="m"]\nreturn', "a list of texts, none empty"),
    ('%t, %s, %d = select %c ["a"] [engine="n"]\nreturn', "runs on 'n' but %c lives on 'm'"),
    (
        '%t, %s, %d = select %c ["a"] [engine="m", score="best"]\nreturn',
        "it must be one of mean, sum",
    ),
    (
        '%t, %s, %d = select %c ["a"] [engine="m"]\n%f = format %d\nreturn',
        "only an LLM can read a context",
    ),
    ("return %x", "returns %x, which no node makes"),
    ("%a = fromat\nreturn", "unknown op; known are apply, attempt, call, "),
    ('%a, %b = embed "x" [engine="e"]\nreturn', "has 2 outputs; the op makes 1"),
    ('%a = search null [engine="s"]\nreturn', "has 1 args; the op takes 2 to 4"),
    ('%a = embed "x"\nreturn', "has no attr 'engine'"),
    ('%a = embed "x" [engine=3]\nreturn', "attr 'engine' is 3; it must be a string"),
    (
        '%a = embed "x" [engine="e", objective="soon"]\nreturn',
        "attr 'objective' is 'soon'; it must be latency or throughput",
    ),
    ("%a = const [value=NaN]\nreturn", "attrs must be JSON values"),
    ("%a = format Infinity\nreturn", "use a Ref, a Marker or a JSON value"),
    ("%a = format @user\nreturn", "markers are for the parts of a prompt"),
    ('%a = prefill %c @robot "x" [engine="m"]\nreturn', "unknown marker @robot"),
    ('%a = prefill %c "x" @sp [engine="m"]\nreturn', "@sp must be followed by a value"),
    ('%a = prefill %c @sp @user [engine="m"]\nreturn', "@sp must be followed by a value"),
    ('%a = prefill "c" "x" [engine="m"]\nreturn', "its first arg must be a context"),
    ('%a = prefill %q "x" [engine="m"]\nreturn', "its first arg must be a context"),
    ('%t, %d = decode %c [engine="m"]\n%a, %b = decode %t [engine="m"]\nreturn', "be a context"),
    ('%a = prefill %c "x" [engine="n"]\nreturn', "runs on 'n' but %c lives on 'm'; use one engine"),
    ("%a = format %c\nreturn", "arg 0 is the context %c; only an LLM can read"),
    ('%a = prefill %c %c [engine="m"]\nreturn', "arg 1 is the context %c; only an LLM can read"),
    ("%a = map %q\nreturn", "has 0 bodies; the op takes one body"),
    ("%a = format %q {\n  return\n}\nreturn", "has 1 bodies; the op takes no body"),
    ("%a = map %q {\n  %b = const [value=1]\n  return %b\n}\nreturn", "its body has 0 inputs"),
    ('%a = map %q {\n  %x = input [type="s"]\n  return\n}\nreturn', "its body returns 0 values"),
    ('%a = map %q {\n  %x = input [type="s"]\n  return %q\n}\nreturn', "returns %q, which no node"),
    ('%a = search ~%q "x" [engine="s"]\nreturn', "reads arg 0 as a stream; it can only be read"),
    ('%a = rerank ~%q %q [engine="r"]\nreturn', "reads arg 0 as a stream; it can only be read"),
    (
        '%a = ingest ~%q null [engine="s"]\nreturn',
        "reads arg 0 as a stream; it can only be read whole, as what has effects must",
    ),
    (
        '%a = map ~%q {\n  %x = input [type="s"]\n  %y = call %x [fn="f"]\n  return %y\n}\nreturn',
        "reads arg 0 as a stream; it can only be read whole, as what has effects must",
    ),
    (
        '%t, %d = decode %c [engine="m"]\n%a = embed ~%t [engine="e"]\nreturn',
        "reads the text %t as a stream; only `elements` can",
    ),
    ('%a = elements %q [path=[], type="T"]\nreturn', "path', to the list, and its 'items'"),
    (
        "%a = elements %q\nreturn",
        "needs the attrs 'type', of the whole text, 'path', to the list, and its 'items'",
    ),
    ('%a = elements %q [items="I", path=[0], type="T"]\nreturn', "it must be names of fields"),
    ('%a = apply %q [fn="pop"]\nreturn', "unknown function 'pop'; known are dict, enumerate"),
    ('%a = elements %q [parser="xml"]\nreturn', "unknown parser 'xml'; known are json, lines"),
    ('%a = elements %q [parser="lines", path=[]]\nreturn', "lines have no type, path or items"),
    ("%a = loop %q [max=0] {\n" + LOOP, "attr 'max' is 0; it must be a whole number, 1 or more"),
    ("%a = loop %q [max=true] {\n" + LOOP, "attr 'max' is True; it must be a whole number"),
    ("%a = loop %q {\n" + LOOP, "has no attr 'max'; set it"),
    ("%a = cond %q {\n" + LOOP, "has 1 bodies; the op takes two bodies"),
    ("%a = attempt null %q {\n" + LOOP, "has 1 bodies; the op takes two bodies"),
    ("%a = first null %q\nreturn", "has no bodies; the op takes one or more"),
    ("%a = first %q {\n" + LOOP, "arg 0 must be null; captures follow it"),
    ("%a = within null [timeout_s=1] {\n" + LOOP, "has no attr 'app'; set it"),
    (
        '%a = within null [app="a", timeout_s=0] {\n' + LOOP,
        "attr 'timeout_s' is 0; it must be seconds, above 0",
    ),
    ('%a = map %q [on_error="drop"] {\n' + LOOP, "it must be one of raise, skip, keep"),
    ('%a = call %q [engine="p", fn="f", retries=0]\nreturn', "attr 'retries' is 0; it must be"),
    ("%a = map %q {\n" + LOOP, "its body returns 2 values; return 1"),
    ("%a = generate @user @sp\nreturn", "has no attr 'engine'"),
    ('%a = generate %c [engine="m"]\nreturn', "only an LLM can read a context"),
    (
        MAP_OF_CONTEXT.format(type="str", result="x"),
        "body input %d must have type context iff its arg is a context",
    ),
    (MAP_OF_CONTEXT.format(type="context", result="d"), "its body returns a context"),
    (MAP_THAT_RETURNS_A_CONTEXT, "its body returns a context"),
]


@pytest.mark.parametrize(("lines", "message"), WRONG)
def test_a_wrong_graph_cannot_be_made(lines: str, message: str) -> None:
    with pytest.raises(GraphError) as error:
        graph(f'%q = input [type="str"]\n%c = context [engine="m"]\n{lines}')
    assert message in str(error.value)


def test_the_message_names_the_node_and_the_users_line() -> None:
    node = Node(("a",), "format", (Ref("b"),), origin=Origin("expand", "app.py", 12))
    with pytest.raises(GraphError, match=r"^%a \(format from app.py:12\): reads %b"):
        Graph("g", (node,), ())


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, object(), float("nan"), [b""]])
def test_attrs_that_json_would_change_are_refused(value: object) -> None:
    with pytest.raises(GraphError, match="attrs must be JSON values"):
        Graph("g", (Node(("a",), "const", (), {"value": value}),), ())  # type: ignore[dict-item]


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "é", "a\n"])
def test_names_that_have_no_text_form_are_refused(name: str) -> None:
    with pytest.raises(GraphError, match="no value name"):
        Graph("g", (Node((name,), "const", (), {"value": 1}),), ())
    with pytest.raises(GraphError, match="no attr name"):
        Graph("g", (Node(("a",), "const", (), {"value": 1, name: 1}),), ())


def test_a_context_may_be_a_param_and_a_capture() -> None:
    found = graph(
        """
        %q = input [type="list"]
        %c = input [type="context"]
        %m = map %q %c {
          %x = input [type="str"]
          %d = input [engine="m", type="context"]
          %e = prefill %d %x [engine="m"]
          %t, %f = decode %e [engine="m"]
          return %t
        }
        return %m, %c
        """
    )
    assert found.outputs == ("m", "c")
    assert parse(str(found)) == found


def test_what_is_whole_may_be_read_as_a_stream_and_prompts_hold_markers() -> None:
    found = graph(
        """
        %q = input [type="list"]
        %v = embed ~%q [engine="e"]
        %t = generate @user "Hi" @sp %q @assistant [engine="m"]
        %l = elements ~%t [items="str", path=[], type="list[str]"]
        %r = rerank %q ~%l [engine="r"]
        return %r
        """
    )
    assert found.outputs == ("r",)
    assert parse(str(found)) == found


def test_branches_and_turns_may_capture_contexts() -> None:
    found = graph(
        """
        %q = input [type="str"]
        %c = context [engine="m"]
        %a = cond %q %c {
          %d = input [type="context"]
          %t, %e = decode %d [engine="m"]
          return %t
        } else {
          %d = input [type="context"]
          %t = const [value=""]
          return %t
        }
        %l = loop %q %c [max=1] {
          %s = input [type="str"]
          %d = input [engine="m", type="context"]
          %t, %e = decode %d [engine="m"]
          return %t, %s
        }
        return %a, %l
        """
    )
    assert found.outputs == ("a", "l")
    assert parse(str(found)) == found
