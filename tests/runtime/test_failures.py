"""Which failure a query ends with, what still runs until then, and what is left."""

from collections.abc import Callable
from textwrap import dedent, indent
from typing import Any

import pytest

from backends.documents import Doc
from backends.errors import RequestTooLong
from runtime.clock import run_virtual
from runtime.errors import NodeFailed, QueryError, QueryTimeout
from runtime.failures import Failure
from runtime.graph_scheduler import Query
from runtime.outputs import Outputs

Worlds = Callable[..., Any]

# engine "tools" is slow, engine "python" is fast
SPEEDS = {"tools": {"latency_s": 1.0}, "python": {"latency_s": 0.1}}


def graph(lines: str) -> str:
    return "graph g {\n" + indent(dedent(lines).strip("\n "), "  ") + "\n}"


def fails(name: str) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise ValueError(name)

    return fail


def error_of(world: Any, lines: str, **options: Any) -> NodeFailed:
    (error,) = world.run_all(graph(lines), **options)
    assert isinstance(error, NodeFailed), error
    return error


BOTH = """
    %slow = call "x" [engine="tools", fn="first", pure=true]
    %fast = call "x" [engine="python", fn="second", pure=true]
    %all = pack %fast %slow
    return %all
"""


def test_the_first_failure_in_program_order_counts_not_the_first_in_time(world: Worlds) -> None:
    w = world(**SPEEDS)
    error = error_of(w, BOTH, symbols={"first": fails("first"), "second": fails("second")})
    assert (error.node, str(error.cause)) == ("slow", "first")
    assert w.log.events[-1].t == 1.0


def test_a_failure_counts_once_all_that_stands_earlier_has_ended_well(world: Worlds) -> None:
    w = world(**SPEEDS)
    error = error_of(w, BOTH, symbols={"first": str, "second": fails("second")})
    assert (error.node, str(error.cause)) == ("fast", "second")
    assert w.log.events[-1].t == 1.0


def test_what_stands_later_is_cancelled_at_once_and_never_begins(world: Worlds) -> None:
    lines = """
        %fast = call "x" [engine="python", fn="boom", pure=true]
        %c0 = context [engine="llm"]
        %c1 = prefill %c0 @user "Say" @assistant [engine="llm"]
        %text, %c2 = decode %c1 [engine="llm"]
        %then = call %text [engine="python", fn="never"]
        %all = pack %fast %then
        return %all
    """
    w = world(**SPEEDS, llm={"token_s": 1.0, "replies": {"Say": "one two three"}})
    assert error_of(w, lines, symbols={"boom": fails("boom"), "never": fails("no")}).node == "fast"
    assert w.log.events[-1].t == pytest.approx(0.1)
    assert w.num_live_contexts == 0


def test_an_effect_that_stands_before_a_failure_still_happens_and_one_behind_it_never(
    world: Worlds,
) -> None:
    lines = """
        %a = call "a" [engine="tools", fn="slow", pure=true]
        %sent = call %a [engine="python", fn="send"]
        %bad = call "x" [engine="python", fn="boom", pure=true]
        %late = call "late" [engine="python", fn="send"] after %sent, %bad
        %all = pack %sent %bad %late
        return %all
    """
    sent: list[object] = []
    symbols = {"slow": lambda x: x, "send": sent.append, "boom": fails("boom")}
    assert error_of(world(**SPEEDS), lines, symbols=symbols).node == "bad"
    assert sent == ["a"]


ITEMS = """
    %xs = input [type="list[str]"]
    %m = map %xs {
      %x = input [type="str"]
      %a = call %x [engine="python", fn="fast", pure=true]
      %b = call %a [engine="tools", fn="slow", pure=true]
      return %b
    }
    return %m
"""


def failing_for(*items: str) -> Callable[[str], str]:
    def work(item: str) -> str:
        if item in items:
            raise ValueError(item)
        return item

    return work


@pytest.mark.parametrize(
    ("fast", "slow", "failed"),
    [
        ("c", "a", "m[0].b"),  # item c fails first; a, before it, a second later
        ("a", "c", "m[0].a"),
        ("cb", "", "m[1].a"),
        ("", "dbc", "m[1].b"),
    ],
)
def test_of_a_maps_items_the_first_counts(world: Worlds, fast: str, slow: str, failed: str) -> None:
    symbols = {"fast": failing_for(*fast), "slow": failing_for(*slow)}
    inputs = {"xs": list("abcd")}
    assert error_of(world(**SPEEDS), ITEMS, inputs=inputs, symbols=symbols).node == failed


def test_items_behind_a_failed_one_are_stopped_and_those_before_it_go_on(world: Worlds) -> None:
    seen: list[str] = []
    symbols = {"fast": failing_for("b"), "slow": lambda item: seen.append(item)}
    w = world(**SPEEDS)
    error = error_of(w, ITEMS, inputs={"xs": list("abcd")}, symbols=symbols)
    assert (error.node, seen) == ("m[1].a", ["a"])


def test_in_maps_of_maps_the_outer_item_decides_before_the_inner(world: Worlds) -> None:
    lines = """
        %xss = input [type="list[list[str]]"]
        %m = map %xss {
          %xs = input [type="list[str]"]
          %n = map %xs {
            %x = input [type="str"]
            %a = call %x [engine="python", fn="fast", pure=true]
            %b = call %a [engine="tools", fn="slow", pure=true]
            return %b
          }
          return %n
        }
        return %m
    """
    symbols = {"fast": failing_for("c"), "slow": failing_for("b")}
    inputs = {"xss": [["a", "b"], ["c"]]}
    error = error_of(world(**SPEEDS), lines, inputs=inputs, symbols=symbols)
    assert error.node == "m[0].n[1].b"


def test_a_failure_in_an_earlier_body_counts_before_one_in_a_later_node(world: Worlds) -> None:
    lines = """
        %flag = input [type="bool"]
        %c = cond %flag {
          %a = call "x" [engine="tools", fn="first", pure=true]
          return %a
        } else {
          %b = const [value=1]
          return %b
        }
        %l = loop "s" [max=3] {
          %s = input [type="str"]
          %n = call %s [engine="python", fn="second", pure=true]
          return %n, %n
        }
        %all = pack %c %l
        return %all
    """
    symbols = {"first": fails("first"), "second": fails("second")}
    w = world(**SPEEDS)
    assert error_of(w, lines, inputs={"flag": True}, symbols=symbols).node == "c{then}.a"
    w = world(**SPEEDS)
    assert error_of(w, lines, inputs={"flag": False}, symbols=symbols).node == "l[0].n"


STREAMED = """
    %docs = input [type="list[Doc]"]
    %v = embed ~%docs [engine="embedder"]
    %m = map ~%v {
      %x = input [type="Vector"]
      %y = call %x [engine="python", fn="use", pure=true]
      return %y
    }
    return %m
"""


def test_a_reader_that_failed_does_not_hold_up_the_stream_before_it(world: Worlds) -> None:
    w = world(embedder={"latency_s": 1.0, "max_batch_items": 1}, **SPEEDS)
    docs = [Doc(str(i)) for i in range(30)]  # more than the window of a stream
    error = error_of(w, STREAMED, inputs={"docs": docs}, symbols={"use": fails("use")})
    assert error.node == "m[0].y"
    assert w.log.events[-1].t == 30.0  # all of the embeddings stand earlier, and may fail


def test_a_reader_that_is_stopped_does_not_hold_up_the_stream_before_it(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.ops.map.MAP_WINDOW", 2)
    lines = """
        %xs = input [type="list[str]"]
        %m = map %xs {
          %x = input [type="str"]
          %a = call %x [engine="tools", fn="slow", pure=true]
          return %a
        }
        %bad = call "x" [engine="python", fn="boom", pure=true]
        %v = embed ~%m [engine="embedder"]
        %all = pack %bad %v
        return %all
    """
    symbols = {"slow": failing_for("k"), "boom": fails("boom")}
    w = world(**SPEEDS, embedder={"max_batch_items": 1})  # whose own window is four items then
    error = error_of(w, lines, inputs={"xs": list("abcdefghijk")}, symbols=symbols)
    assert error.node == "m[10].a"


def test_a_stream_that_fails_late_counts_before_its_reader_that_failed_early(
    world: Worlds,
) -> None:
    w = world(embedder={"latency_s": 1.0, "max_batch_items": 1}, **SPEEDS)
    docs: list[Any] = [Doc(str(i)) for i in range(9)]
    docs[8] = object()  # no text: the embedder refuses it
    error = error_of(w, STREAMED, inputs={"docs": docs}, symbols={"use": fails("use")})
    assert error.node.startswith("v")


def test_items_out_of_order_behind_a_failed_one_leave_room_for_those_before_it(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.ops.map.MAP_WINDOW", 2)
    lines = """
        %xs = input [type="list[str]"]
        %m = map %xs {
          %x = input [type="str"]
          %a = call %x [engine="python", fn="fast", pure=true]
          %slow = call %a [engine="python", fn="is_slow", pure=true]
          %c = cond %slow %a {
            %i = input [type="str"]
            %b = call %i [engine="tools", fn="slow", pure=true]
            return %b
          } else {
            %i = input [type="str"]
            return %i
          }
          return %c
        }
        %n = map ~%m {
          %y = input [type="str"]
          %z = call %y [engine="tools", fn="use", pure=true]
          return %z
        }
        %f = flatten ~%n
        return %f
    """
    symbols = {
        "fast": str,
        "is_slow": lambda x: x == "a",
        "slow": str,
        "use": failing_for("a", "b"),
    }
    inputs = {"xs": ["a", "b", "c"]}
    error = error_of(world(**SPEEDS), lines, inputs=inputs, symbols=symbols)
    assert (error.node, str(error.cause)) == ("n[0].z", "a")


def test_what_goes_wrong_in_a_reader_of_a_stream_is_the_readers_failure(world: Worlds) -> None:
    lines = """
        %xs = input [type="list[str]"]
        %m = map %xs {
          %x = input [type="str"]
          %a = call %x [engine="python", fn="number", pure=true]
          return %a
        }
        %f = flatten ~%m
        return %f
    """
    symbols = {"number": len}  # no lists, which flatten needs
    assert error_of(world(), lines, inputs={"xs": ["x"]}, symbols=symbols).node == "f"


def test_a_prompt_that_is_refused_fails_at_the_decodes_of_its_context(world: Worlds) -> None:
    lines = """
        %xs = input [type="list[str]"]
        %c0 = context [engine="llm"]
        %c1 = prefill %c0 @user "one two three four" [engine="llm"]
        %m = map %xs %c1 {
          %x = input [type="str"]
          %head = input [type="context"]
          %c2 = prefill %head %x @assistant [engine="llm"]
          %text, %c3 = decode %c2 [engine="llm"]
          return %text
        }
        return %m
    """
    w = world(llm={"max_context_tokens": 2})
    error = error_of(w, lines, inputs={"xs": ["a"]})
    assert error.node == "m[0].text"
    assert isinstance(error.cause, RequestTooLong)
    assert error_free(w.run_all(graph(lines), inputs={"xs": []})) == [[]]


def error_free(results: list[Any]) -> Any:
    (result,) = results
    assert not isinstance(result, Exception), result
    return result


def test_a_timeout_ends_a_query_at_once_also_one_that_has_failed_already(world: Worlds) -> None:
    w = world(**SPEEDS)
    symbols = {"first": str, "second": fails("second")}
    (error,) = w.run_all(graph(BOTH), symbols=symbols, timeout_s=0.5)
    assert isinstance(error, QueryTimeout)
    assert w.log.events[-1].t == 0.5


# Values that fail one by one


class Told:
    """What a query told of its values."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.errors: dict[str, str] = {}

    def on_error(self, name: str, error: QueryError) -> None:
        assert isinstance(error, NodeFailed)
        assert name not in self.errors
        self.errors[name] = error.node

    def run(self, world: Any, lines: str, **options: Any) -> Any:
        (result,) = world.run_all(
            graph(lines),
            outputs=Outputs(self.values.__setitem__, self.on_error),
            **options,
        )
        assert not isinstance(result, Exception) or isinstance(result, QueryError), result
        return result


def test_a_value_that_fails_takes_only_those_with_it_that_read_it(world: Worlds) -> None:
    lines = """
        %a = call "a" [engine="python", fn="boom", pure=true]
        %b = call "b" [engine="tools", fn="fine", pure=true] after %a
        %c = call %a [engine="python", fn="fine", pure=true]
        %d = call %b [engine="python", fn="fine", pure=true]
        return %a, %b, %c, %d
    """
    told = Told()
    error = told.run(world(**SPEEDS), lines, symbols={"boom": fails("a"), "fine": str.upper})
    assert told.values == {"b": "B", "d": "B"}
    assert told.errors == {"a": "a", "c": "a"}
    assert isinstance(error, NodeFailed)  # and told at the end, also where nobody asked
    assert error.node == "a"


def test_values_that_all_come_are_the_result(world: Worlds) -> None:
    told = Told()
    result = told.run(world(), BOTH, symbols={"first": str, "second": str})
    assert result == [["x", "x"]]
    assert (told.values, told.errors) == ({"all": ["x", "x"]}, {})


def test_a_value_is_lost_by_the_first_failure_in_program_order_of_those_it_reads(
    world: Worlds,
) -> None:
    told = Told()
    told.run(world(**SPEEDS), BOTH, symbols={"first": fails("first"), "second": fails("second")})
    assert told.errors == {"all": "slow"}


def test_no_effect_behind_a_failure_runs_and_those_before_it_do(world: Worlds) -> None:
    lines = """
        %before = call "before" [engine="tools", fn="send"]
        %a = call "a" [engine="python", fn="boom", pure=true]
        %behind = call "behind" [engine="python", fn="send"] after %before, %a
        %pure = call "x" [engine="python", fn="fine", pure=true] after %behind
        return %before, %a, %behind, %pure
    """
    sent: list[str] = []
    symbols = {"send": sent.append, "boom": fails("a"), "fine": str}
    told = Told()
    told.run(world(**SPEEDS), lines, symbols=symbols)
    assert sent == ["before"]
    assert told.values == {"before": None, "pure": "x"}
    assert told.errors == {"a": "a", "behind": "a"}


def test_a_map_that_fails_is_lost_as_a_whole_with_what_reads_its_items(world: Worlds) -> None:
    lines = """
        %xs = input [type="list[str]"]
        %m = map %xs {
          %x = input [type="str"]
          %a = call %x [engine="python", fn="fast", pure=true]
          %b = call %a [engine="tools", fn="slow", pure=true]
          return %b
        }
        %n = map ~%m {
          %y = input [type="str"]
          %z = call %y [engine="python", fn="fine", pure=true]
          return %z
        }
        %f = flatten ~%n
        %other = call "x" [engine="tools", fn="fine", pure=true]
        return %m, %n, %f, %other
    """
    symbols = {"fast": failing_for("c"), "slow": failing_for("b"), "fine": str}
    told = Told()
    told.run(world(**SPEEDS), lines, inputs={"xs": list("abcd")}, symbols=symbols)
    assert told.errors == dict.fromkeys(["m", "n", "f"], "m[1].b")
    assert told.values == {"other": "x"}


def test_a_body_that_waits_for_a_lost_capture_is_lost_with_it(world: Worlds) -> None:
    lines = """
        %qs = input [type="list[str]"]
        %slow = call "x" [engine="tools", fn="boom", pure=true]
        %m = map %qs %slow {
          %q = input [type="str"]
          %s = input [type="str"]
          %v = embed %q [engine="embedder"]
          %p = pack %v %s
          return %p
        }
        %other = call "x" [engine="python", fn="fine", pure=true]
        return %m, %other
    """
    told = Told()
    symbols = {"boom": fails("boom"), "fine": str}
    told.run(world(**SPEEDS), lines, inputs={"qs": ["a", "b"]}, symbols=symbols)
    assert (told.errors, told.values) == ({"m": "slow"}, {"other": "x"})


def test_a_lost_query_frees_its_contexts_but_keeps_those_it_has_given(world: Worlds) -> None:
    lines = """
        %c0 = context [engine="llm"]
        %c1 = prefill %c0 @user "Say" @assistant [engine="llm"]
        %text, %c2 = decode %c1 [engine="llm"]
        %bad = call %text [engine="python", fn="boom", pure=true]
        return %bad, %c2
    """
    told = Told()
    w = world()
    told.run(w, lines, symbols={"boom": fails("boom")})
    assert told.errors == {"bad": "bad"}
    assert w.num_live_contexts == 1
    told.values["c2"].release()
    assert w.num_live_contexts == 0


def test_nothing_waits_for_a_prefill_which_cannot_be_the_failure(world: Worlds) -> None:
    lines = """
        %c0 = context [engine="llm"]
        %c1 = prefill %c0 @user "one two three" [engine="llm"]
        %bad = call "x" [engine="python", fn="boom", pure=true]
        %text, %c2 = decode %c1 [engine="llm"]
        %all = pack %bad %text
        return %all
    """
    w = world(**SPEEDS, llm={"prefill_token_s": 1.0})
    assert error_of(w, lines, symbols={"boom": fails("boom")}).node == "bad"
    assert w.log.events[-1].t == pytest.approx(0.1)


def test_failures_that_wait_are_looked_at_only_when_something_before_them_ends(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = """
        %xs = input [type="list[str]"]
        %m = map %xs [on_error="skip"] {
          %x = input [type="str"]
          %a = call %x [engine="tools", fn="fine", pure=true]
          %b = call %x [engine="python", fn="boom", pure=true]
          %all = pack %a %b
          return %all
        }
        return %m
    """
    looks: list[bool] = []
    is_first = Failure.is_first
    monkeypatch.setattr(Failure, "is_first", lambda self: looks.append(True) or is_first(self))
    w = world(**SPEEDS)
    inputs = {"xs": [str(i) for i in range(100)]}
    symbols = {"fine": str, "boom": fails("boom")}
    assert w.run_all(graph(lines), inputs=inputs, symbols=symbols) == [[[]]]
    assert len(looks) == 200  # when it fails, and when what stands before it has ended


def test_a_mistake_of_ours_ends_its_query_and_the_engine_works_on(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_at(*_: object) -> None:
        raise IndexError("no input 0")

    monkeypatch.setattr(Query, "fail_at", fail_at)
    call = graph("""
        %t = call "x" [engine="python", fn="f", pure=true]
        return %t
    """)
    w = world()

    async def main() -> tuple[Any, Any]:
        with pytest.raises(QueryError) as broken:
            await w.run(call, symbols={"f": fails("never")})
        return broken.value, await w.run(call, symbols={"f": str})

    error, after = run_virtual(main())
    assert "broke at %t: IndexError" in str(error)
    assert isinstance(error.__cause__, IndexError)
    assert after == ["x"]
