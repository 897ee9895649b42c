import pytest
from graph_text import graph

from graph_opt.graph import Node
from graph_opt.ops import OPS, Access, access, has_effects, is_pure, may_fail, reads_state

WORLD = frozenset("*")
STORE = frozenset("s")


def _last(line: str) -> Node:
    return graph(f'%q = input [type="str"]\n%c = context [engine="m"]\n{line}\nreturn').nodes[-1]


def _map(line: str) -> str:
    return f'%m = map %q {{\n  %q = input [type="str"]\n  {line}\n  return %x\n}}'


@pytest.mark.parametrize(
    ("line", "pure", "touches"),
    [
        ('%x = embed %q [engine="e"]', True, Access()),
        ('%t, %d = decode %c [engine="m"]', True, Access()),
        ('%t, %d = decode %c [engine="m", temperature=0]', True, Access()),
        ('%t, %s, %d = select %c ["yes", "no"] [engine="m"]', True, Access()),
        ('%t, %d = decode %c [engine="m", temperature=0.1]', False, Access()),
        ('%t, %d = decode %c [engine="m", seed=0, temperature=0.1]', True, Access()),
        ('%x = ingest %q null [engine="s"]', False, Access(writes=STORE)),
        ('%x = search null %q [engine="s"]', True, Access(reads=STORE)),
        ('%x = search %q %q [engine="s"]', True, Access()),
        ('%x = search %q %q null {"a": 1} [engine="s"]', True, Access()),
        ('%x = count [engine="s"]', True, Access(reads=STORE)),
        ('%x = delete %q null null [engine="s"]', False, Access(writes=STORE)),
        ('%x = call %q [fn="f"]', False, Access(writes=WORLD)),
        ('%x = call %q [fn="f", pure=false]', False, Access(writes=WORLD)),
        ('%x = call %q [fn="f", pure=true]', True, Access()),
        ('%x = call %q [fn="f", pure=true, reads=true]', False, Access(reads=WORLD)),
        (_map('%x = call %q [fn="f", pure=true]'), True, Access()),
        (_map('%x = call %q [fn="f", pure=true, reads=true]'), False, Access(reads=WORLD)),
        (_map('%x = call %q [fn="f"]'), False, Access(writes=WORLD)),
        (_map('%x = search null %q [engine="s"]'), True, Access(reads=STORE)),
    ],
)
def test_what_a_node_touches_and_whether_it_may_be_merged(
    line: str, pure: bool, touches: Access
) -> None:
    node = _last(line)
    assert is_pure(node) is pure
    assert access(node) == touches
    assert has_effects(node) is bool(touches.writes)
    assert reads_state(node) is bool(touches.reads)


@pytest.mark.parametrize(
    ("then", "otherwise", "touches"),
    [
        ('%x = call %q [fn="f"]', '%x = search null %q [engine="s"]', Access(STORE, WORLD)),
        ('%x = ingest %q [engine="s"]', "%x = format %q", Access(writes=STORE)),
        ("%x = format %q", '%x = embed %q [engine="e"]', Access()),
    ],
)
def test_a_branch_touches_what_either_body_touches(
    then: str, otherwise: str, touches: Access
) -> None:
    bodies = (
        f'{{\n  %q = input [type="str"]\n  {line}\n  return %x\n}}' for line in (then, otherwise)
    )
    node = _last(f"%a = cond %q %q {' else '.join(bodies)}")
    assert access(node) == touches
    assert is_pure(node) is not touches.writes


def test_what_only_puts_values_together_cannot_fail_nor_can_a_prompt_before_it_is_decoded() -> None:
    assert {op.name for op in OPS.values() if not op.may_fail} == {
        "input",
        "const",
        "context",
        "prefill",
        "pack",
    }
    assert may_fail(_last("%j = join %q"))
    assert not may_fail(_last("%p = pack %q"))


def test_lists_that_can_be_given_item_by_item_and_texts_that_can_be_read_early() -> None:
    assert {op.name for op in OPS.values() if op.streams_out} == {
        "embed",
        "map",
        "flatten",
        "concat",
        "elements",
    }
    assert {op.name for op in OPS.values() if op.writes_text} == {"decode", "generate"}


def test_only_a_write_conflicts_and_only_on_the_same_state() -> None:
    reading, writing = Access(reads=STORE), Access(writes=STORE)
    assert writing.conflicts(writing)
    assert writing.conflicts(reading)
    assert reading.conflicts(writing)
    assert not reading.conflicts(reading)
    assert not writing.conflicts(Access(writes=WORLD))
