"""What one running copy of a graph holds, and when it lets go."""

from dataclasses import dataclass, field
from typing import Any

from graph_opt.graph import Ref
from graph_opt.text import parse
from runtime.captures import Late
from runtime.layout import layout_of
from runtime.scope import Above, Body, Scope


@dataclass(slots=True, eq=False)
class Context:
    """A context that counts its releases."""

    num_tokens: int = 0
    num_releases: int = field(default=0)

    def release(self) -> None:
        self.num_releases += 1


def scope_of(lines: str, *params: Any, above: Above | None = None) -> Scope:
    layout = layout_of(parse(f"graph g {{\n{lines}\n}}"))
    return Scope(Body(layout, params, lambda results: None), above)


def finish(scope: Scope, name: str, *outputs: Any) -> list[str]:
    """The names of the nodes that this makes ready."""
    node = scope.layout.nodes[name]
    scope.begin(node)
    return [follower.name for follower in scope.finish(node, outputs)]


TWO_READERS = """
    %c0 = context [engine="llm"]
    %c1 = prefill %c0 @user "a" [engine="llm"]
    %a, %c2 = decode %c1 [engine="llm"]
    %b, %c3 = decode %c1 [engine="llm"]
    return %a, %b
"""


def test_a_context_is_released_after_its_last_reader_and_at_once_if_nobody_reads_it() -> None:
    scope = scope_of(TWO_READERS)
    c0, c1, c2, c3 = (Context() for _ in range(4))
    assert finish(scope, "c0", c0) == ["c1"]
    assert finish(scope, "c1", c1) == ["a", "b"]
    assert (c0.num_releases, c1.num_releases) == (1, 0)
    assert finish(scope, "a", "one", c2) == []
    assert (c1.num_releases, c2.num_releases) == (0, 1)
    finish(scope, "b", "two", c3)
    assert (c1.num_releases, c3.num_releases) == (1, 1)
    assert scope.results() == ["one", "two"]
    assert scope.num_unfinished == 0


def test_a_node_that_is_lost_ends_what_it_read_and_its_followers_become_ready() -> None:
    scope = scope_of(TWO_READERS.replace("return %a, %b", "%all = pack %a %b\nreturn %all"))
    c1 = Context()
    finish(scope, "c0", Context())
    finish(scope, "c1", c1)
    finish(scope, "a", "one", Context())
    ready = scope.lose(scope.layout.nodes["b"], had_begun=True)
    assert [node.name for node in ready] == ["all"]
    assert c1.num_releases == 1


def test_who_reads_the_stream_of_a_node_begins_with_it_or_is_ready_when_it_is_lost_before() -> None:
    lines = """
        %xs = input [type="list[str]"]
        %m = map %xs {
          %x = input [type="str"]
          return %x
        }
        %f = flatten ~%m
        return %f
    """
    begun, lost = scope_of(lines, []), scope_of(lines, [])
    m = begun.layout.nodes["m"]
    assert [node.name for node in begun.begin(m)] == ["f"]
    assert begun.lose(m, had_begun=True) == []
    assert [node.name for node in lost.lose(lost.layout.nodes["m"], had_begun=False)] == ["f"]


def test_what_came_from_outside_is_never_released_here_and_what_was_given_away_no_more() -> None:
    lines = """
        %h = input [type="context"]
        %c1 = prefill %h "a" [engine="llm"]
        %c2 = prefill %h "b" [engine="llm"]
        %c3 = prefill %h "c" [engine="llm"]
        %later = prefill %h "d" [engine="llm"]
        return %c1, %c2, %later
    """
    outside, given, own, unread = (Context() for _ in range(4))
    scope = scope_of(lines, outside)
    finish(scope, "h", outside)
    finish(scope, "c1", given)
    scope.give("c1")
    finish(scope, "c2", own)
    finish(scope, "c3", unread)
    scope.release_all()
    found = [context.num_releases for context in (outside, given, own, unread)]
    assert found == [0, 0, 1, 1]
    assert scope.values == {}


BODY = """
    %x = input [type="str"]
    %late = input [type="str"]
    %a = format %x
    %b = format %x %late
    %both = pack %a %b
    return %both
"""


def test_a_body_begins_before_a_late_value_and_only_its_readers_wait() -> None:
    late = Late()
    outer = scope_of("%n = const [value=1]\nreturn %n")
    above = Above(outer, outer.layout.nodes["n"])
    scope = scope_of(BODY, "x", late, above=above)
    assert [node.name for node in scope.ready_at_start()] == ["x"]
    assert finish(scope, "x", "x") == ["a"]
    late.arrive("y")
    assert [node.name for node in scope.param_came("late")] == ["late"]
    assert scope.param("late") == "y"
    assert finish(scope, "late", "y") == ["b"]


def test_a_body_whose_parameters_are_there_starts_behind_them() -> None:
    outer = scope_of("%n = const [value=1]\nreturn %n")
    scope = scope_of(BODY, "x", "y", above=Above(outer, outer.layout.nodes["n"]))
    assert scope.path == "n."
    assert [node.name for node in scope.ready_at_start()] == ["a", "b"]
    assert scope.num_unfinished == 3
    assert scope.values == {"x": "x", "late": "y"}


def test_a_capture_is_the_value_or_a_promise_that_is_kept_once() -> None:
    scope = scope_of("%a = const [value=1]\n%b = pack %a\nreturn %b")
    assert scope.capture("literal") == "literal"
    promise = scope.capture(Ref("a"))
    assert isinstance(promise, Late)
    assert scope.capture(Ref("a")) is promise
    assert scope.awaited(scope.layout.nodes["a"], (1,)) == [(promise, 1)]
    assert scope.awaited(scope.layout.nodes["a"], (1,)) == []
    finish(scope, "a", 1)
    assert scope.capture(Ref("a")) == 1


def test_what_waits_before_a_node_is_what_may_fail_or_write_and_has_not_ended() -> None:
    lines = """
        %x = input [type="str"]
        %safe = pack %x
        %c = call %x [engine="python", fn="f", pure=true]
        %d = call %c [engine="python", fn="g"]
        return %safe, %d
    """
    scope = scope_of(lines, "x")
    index = scope.layout.index
    assert not scope.waits_before(index["c"])
    assert scope.waits_before(index["d"])
    finish(scope, "x", "x")
    finish(scope, "c", "y")
    assert not scope.waits_before(index["d"])
