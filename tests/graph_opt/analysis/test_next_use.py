"""When contexts are read, by the plan's times."""

from graph_opt.analysis.next_use import next_uses
from graph_opt.text import parse


def reads(lines: str) -> dict[str, tuple[float, ...]]:
    return dict(next_uses(parse(f"graph g {{\n{lines}\n}}")).reads)


def test_a_context_is_read_when_its_readers_can_begin() -> None:
    found = reads("""\
  %c0 = context [engine="m"]
  %c = prefill %c0 "a" [engine="m"]
  %a, %d = decode %c [engine="m"]
  %r = call %a [engine="t", fn="f"]
  %b, %e = decode %c %r [engine="m"]
  return %b""")
    assert found == {"c0": (0.0,), "c": (1.0, 3.0)}


def test_bodies_read_what_they_capture() -> None:
    found = reads("""\
  %x = input [type="str"]
  %c0 = context [engine="m"]
  %c = prefill %c0 %x [engine="m"]
  %is = call %x [engine="t", fn="f"]
  %k = cond %is %c {
    %in = input [type="context"]
    %t, %d = decode %in [engine="m"]
    %u, %e = decode %d [engine="m"]
    return %u
  } else {
    %in = input [type="context"]
    %d = prefill %in "b" [engine="m"]
    %t, %e = decode %d [engine="m"]
    return %t
  }
  %a, %e = decode %c %k [engine="m"]
  return %a""")
    assert found["c"] == (1.0, 3.0)
    assert found["k{then}.in"] == (1.0, 3.0)
    assert found["k{then}.d"] == found["k{else}.d"] == (2.0,)


def test_a_loop_reads_again_in_its_next_turn() -> None:
    found = reads("""\
  %x = input [type="str"]
  %c0 = context [engine="m"]
  %notes = prefill %c0 "notes" [engine="m"]
  %end = loop %x %notes [max=3] {
    %state = input [type="str"]
    %own = input [type="context"]
    %t, %d = decode %own %state [engine="m"]
    %u, %e = decode %d [engine="m"]
    return %u, %t
  }
  return %end""")
    assert found["notes"] == (1.0,)
    assert found["end[].own"] == (1.0, 3.0)
    assert found["end[].d"] == (2.0,)


def test_times_of_a_body_are_by_its_own_names() -> None:
    graph = parse("""\
graph g {
  %x = input [type="list"]
  %m = map %x {
    %i = input [type="str"]
    %c0 = context [engine="m"]
    %c = prefill %c0 %i [engine="m"]
    %t, %d = decode %c [engine="m"]
    return %t
  }
  return %m
}""")
    (body,) = graph.node("m").bodies
    times = next_uses(graph).of("m[].", body)
    assert times.reads == {"c0": (0.0,), "c": (1.0,)}
    assert times.begins["t"] == 1.0
