"""Which requests read the context of a prefill, from which place of the program on."""

from collections.abc import Sequence

from graph_opt.analysis.context_reads import MAP_ITEMS, Prefill, Reading, ask_about_prefills
from graph_opt.graph import Node
from graph_opt.text import parse

BODY = """{
    %x = input [type="str"]
    %c = input [engine="m", type="context"]
    BEFORE
    %t, %d = decode %c %x [engine="m"]
    return RESULT
  }"""


def readings(lines: str, request: str = "") -> dict[str, Sequence[Reading]]:
    """What each prefill is asked about, by path; one of them is a request by itself."""
    told: dict[str, Sequence[Reading]] = {}

    def is_request(prefill: Prefill, found: Sequence[Reading]) -> bool:
        told[prefill.path] = found
        return prefill.path == request

    graph = parse(f"""
graph g {{
  %q = input [type="list[str]"]
  %c0 = context [engine="m"]
  %h = prefill %c0 "head" [engine="m"]
  {lines}
}}""")
    ask_about_prefills(graph, None, _is_of_m, is_request)
    return told


def _is_of_m(node: Node) -> bool:
    return node.attrs.get("engine") == "m"


def body(before: str = "", result: str = "%t") -> str:
    return BODY.replace("BEFORE", before).replace("RESULT", result)


def test_items_of_a_map_read_side_by_side_and_turns_of_a_loop_one_after_another() -> None:
    for op, attrs, num in [
        ("map %q", "", MAP_ITEMS),
        ('map ["a", "b", "c"]', "", 3.0),
        ("map %q", ' [order="sequential"]', 1.0),
        ("loop %q", " [max=5]", 1.0),
    ]:
        result = "%t, %t" if op.startswith("loop") else "%t"
        found = readings(f"%m = {op} %h{attrs} {body(result=result)}\n  return %m")
        assert found["h"] == [Reading(0.0, num)], op


def test_a_reading_starts_after_the_list_the_captures_and_the_item_s_own_work() -> None:
    search = '%s = search null %x null [engine="s"]'
    found = readings(
        f"""
  %e = embed %q [engine="e"]
  %m = map %e %h {body(search).replace("decode %c %x", "decode %c %s")}
  return %m"""
    )
    assert found["h"] == [Reading(2.0, MAP_ITEMS)]


def test_a_prefill_that_is_a_request_reads_once_and_another_passes_its_readings_on() -> None:
    lines = """
  %e = embed %q [engine="e"]
  %h2 = prefill %h %e [engine="m"]
  %t, %a = decode %h2 "a" [engine="m"]
  %u, %b = decode %h2 "b" [engine="m"]
  return %t, %u"""
    both = [Reading(1.0, 1.0), Reading(1.0, 1.0)]
    assert readings(lines) == {"h2": both, "h": both}
    assert readings(lines, request="h2") == {"h2": both, "h": [Reading(1.0, 1.0)]}


def test_of_an_attempt_what_is_tried_counts_and_of_a_race_what_all_read() -> None:
    bodies = body().replace('    %x = input [type="str"]\n', "").replace(" %x", "")
    tried = bodies.replace("{\n", '{\n    %none = input [type="Exception"]\n')
    other = tried.replace("decode %c", 'decode %c "again"')
    assert readings(f"%r = attempt null %h {tried} else {other}\n  return %r")["h"] == [
        Reading(0.0, 1.0)
    ]
    param, constant = '%c = input [engine="m", type="context"]', "%t = const [value=1]"
    calls = f"{{\n    {param}\n    {constant}\n    return %t\n  }}"
    assert readings(f"%r = first null %h {bodies} else {calls}\n  return %r")["h"] == ()


def test_prefills_in_bodies_are_asked_about_too() -> None:
    inner = '%p = prefill %c "more" [engine="m"]'
    text = body(inner).replace("decode %c %x", "decode %p %x")
    found = readings(f"%m = map %q %h {text}\n  return %m")
    assert found == {"m[].p": [Reading(0.0, 1.0)], "h": [Reading(0.0, MAP_ITEMS)]}
