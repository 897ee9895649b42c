from collections.abc import Sequence
from dataclasses import replace

import pytest
from graph_text import graph, wrap

from graph_opt.errors import GraphError
from graph_opt.graph import Graph, Node, Ref
from graph_opt.rewrite import Replacement, drop, fresh_name, in_bodies, rewrite

LINES = """
    %q = input [type="str"]
    %a = format "a" %q
    %b = format "b" %a
    %m = map %b {
      %x = input [type="str"]
      %a = format "a" %x
      return %a
    }
    %c = format %a %m after %b
    return %b, %c
"""


def test_a_rule_that_keeps_all_changes_nothing() -> None:
    assert rewrite(graph(LINES), lambda *_: None) == graph(LINES)


def test_a_node_is_replaced_in_the_graph_and_in_bodies() -> None:
    def double(node: Node, _: Graph) -> Sequence[Node] | None:
        if node.op != "format" or node.args[0] != "a":
            return None
        first = replace(node, outputs=(f"{node.name}.0",))
        return [first, replace(node, args=("then", Ref(first.name)))]

    assert str(rewrite(graph(LINES), double)) == wrap(
        """
        %q = input [type="str"]
        %a.0 = format "a" %q
        %a = format "then" %a.0
        %b = format "b" %a
        %m = map %b {
          %x = input [type="str"]
          %a.0 = format "a" %x
          %a = format "then" %a.0
          return %a
        }
        %c = format %a %m after %b
        return %b, %c
        """
    )
    assert '%a.0 = format "a" %x' not in str(rewrite(graph(LINES), double, recurse=False))


def test_readers_outputs_and_order_follow_a_renamed_value() -> None:
    def bypass(node: Node, _: Graph) -> Replacement | None:
        return Replacement(rename={"b": "a"}) if node.name == "b" else None

    assert str(rewrite(graph(LINES), bypass)) == wrap(
        """
        %q = input [type="str"]
        %a = format "a" %q
        %m = map %a {
          %x = input [type="str"]
          %a = format "a" %x
          return %a
        }
        %c = format %a %m after %a
        return %a, %c
        """
    )


def test_a_new_node_may_take_the_place_of_an_old_one_under_a_new_name() -> None:
    def upper(node: Node, _: Graph) -> Replacement | None:
        if node.name != "b":
            return None
        return Replacement([replace(node, outputs=("B",))], rename={"b": "B"})

    result = rewrite(graph(LINES), upper)
    assert result.outputs == ("B", "c")
    assert result.node("m").inputs == ("B",)
    assert result.node("c").after == ("B",)


def test_a_rule_sees_what_earlier_answers_left() -> None:
    seen: list[tuple[str, ...]] = []

    def bypass(node: Node, _: Graph) -> Replacement | None:
        seen.append(node.inputs)
        return Replacement(rename={node.name: "q"}) if node.name in "ab" else None

    rewrite(graph(LINES), bypass, recurse=False)
    assert seen == [(), ("q",), ("q",), ("q",), ("q", "m")]


def test_dropped_nodes_hand_on_their_place_in_the_order_through_any_number_of_them() -> None:
    before = graph(
        """
        %q = input [type="str"]
        %a = call %q [fn="f"]
        %b = embed %a [engine="e"]
        %c = embed %b [engine="e"]
        %d = call %q [fn="g"] after %c
        return %q
        """
    )
    assert drop(before, {"b", "c"}).node("d").after == ("a",)


def test_dropping_a_value_that_is_read_is_an_error() -> None:
    with pytest.raises(GraphError, match="%b .* reads %a"):
        drop(graph(LINES), {"a"})


def test_in_bodies_changes_bodies_only() -> None:
    result = in_bodies(graph(LINES), lambda body: drop(replace(body, outputs=("x",)), {"a"}))
    assert [len(node.body.nodes) for node in result.nodes if node.body] == [1]
    assert len(result.nodes) == 5


def test_fresh_names_are_free() -> None:
    assert fresh_name(graph(LINES), "z") == "z"
    assert fresh_name(graph(LINES), "a") == "a_"


def test_a_stream_stays_a_stream_under_a_new_name() -> None:
    before = graph(
        """
        %q = input [type="list"]
        %a = map %q {
          %x = input [type="str"]
          return %x
        }
        %b = flatten ~%a
        %c = embed ~%b [engine="e"]
        return %c
        """
    )

    def bypass(node: Node, _: Graph) -> Replacement | None:
        return Replacement(rename={"b": "a"}) if node.name == "b" else None

    assert rewrite(before, bypass).node("c").args == (Ref("a", stream=True),)


def test_a_graph_that_no_rule_changed_is_the_same_object() -> None:
    before = graph(LINES)
    assert rewrite(before, lambda *_: None) is before
    assert in_bodies(before, lambda body: body) is before
