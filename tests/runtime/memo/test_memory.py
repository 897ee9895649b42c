"""The memory of a process is bounded; what it hands out can be changed without changing it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

from backends.documents import Doc
from runtime.memo.memory import Entry, Memory
from runtime.memo.sharing import OVERHEAD_BYTES, shared, size_of


def test_the_least_recently_used_is_forgotten_first() -> None:
    memory = Memory(max_bytes=30)
    for key in (b"a", b"b", b"c"):
        memory.put(key, Entry(key, 10))
    memory.get(b"a")
    memory.put(b"d", Entry(b"d", 10))
    assert [memory.get(key) is not None for key in (b"a", b"b", b"c", b"d")] == [1, 0, 1, 1]
    assert memory.num_bytes == 30


def test_a_key_that_comes_again_replaces_its_value_and_its_bytes() -> None:
    memory = Memory(max_bytes=30)
    memory.put(b"a", Entry(1, 20))
    memory.put(b"a", Entry(2, 5))
    entry = memory.get(b"a")
    assert entry is not None
    assert (entry.value, memory.num_bytes, len(memory)) == (2, 5, 1)


def test_a_value_larger_than_the_memory_drives_nothing_out() -> None:
    memory = Memory(max_bytes=30)
    memory.put(b"a", Entry(1, 10))
    memory.put(b"b", Entry(2, 31))
    assert memory.get(b"a") is not None
    assert memory.get(b"b") is None


def test_clearing_forgets_all() -> None:
    memory = Memory()
    memory.put(b"a", Entry(1, 10))
    memory.clear()
    assert (len(memory), memory.num_bytes) == (0, 0)


@dataclass(frozen=True)
class Frozen:
    text: str
    more: Any = ()


@dataclass
class Open:
    text: str


@pytest.mark.parametrize(
    ("value", "is_shareable"),
    [
        ("text", True),
        ([Doc("a", metadata={"page": 3})], True),
        ([["a"], ["b"]], True),
        (np.zeros(3, np.float32), True),
        (Frozen("a"), True),
        (Frozen("a", ["may change"]), False),
        (Open("a"), False),
        ({"a": 1}, False),
        ([{"a": 1}], False),
        (object(), False),
    ],
)
def test_only_what_cannot_be_changed_behind_ones_back_is_shared(
    value: Any, is_shareable: bool
) -> None:
    assert (size_of(value) is not None) == is_shareable


def test_a_size_counts_what_a_value_holds() -> None:
    assert size_of(np.zeros(1000, np.float32)) == 4000 + OVERHEAD_BYTES
    assert size_of(["x" * 500, "y" * 500]) == 1000 + 3 * OVERHEAD_BYTES


def test_each_holder_has_a_list_of_its_own_and_arrays_are_read_only() -> None:
    value = [["b", "a"], np.zeros(2, np.float32)]
    mine = shared(value)
    mine[0].sort()
    assert value[0] == ["b", "a"]
    with pytest.raises(ValueError, match="read-only"):
        mine[1][0] = 1.0


class Named(NamedTuple):
    items: list[str]


class Listed(list[str]):
    pass


@pytest.mark.parametrize(
    "value",
    [
        Frozen("a", (["may change"],)),
        Frozen("a", np.zeros(3)),
        Frozen("a", Doc("a", metadata={})),
        Named(["may change"]),
        Listed(["a"]),
        Doc("a", metadata={"inner": {}}),
    ],
)
def test_what_may_change_inside_of_what_is_not_copied_is_not_shared(value: Any) -> None:
    assert size_of(value) is None


def test_a_row_does_not_keep_the_array_that_it_was_cut_from() -> None:
    rows = np.zeros((1000, 4), np.float32)
    rows.flags.writeable = False
    assert shared(rows[0]).base is None
