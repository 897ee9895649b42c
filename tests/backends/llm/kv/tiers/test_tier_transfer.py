"""Loads under way, while another thread finishes them."""

from typing import Any

from backends.llm.kv.page_table import Load, PageTable
from backends.llm.kv.tiers.tier_transfer import Loading


class JustNow:
    """A load that the worker finishes between two looks at it."""

    def __init__(self) -> None:
        self.keys = [b"a"]
        self.num_looks = 0

    @property
    def is_done(self) -> bool:
        self.num_looks += 1
        return self.num_looks > 1


def test_a_load_that_ends_while_others_are_taken_is_taken_next_time() -> None:
    loading, late = Loading(), PageTable()
    just_now: Any = JustNow()
    loading.add(just_now, late, [])
    loading.add(Load([b"b"], [0], is_done=True), PageTable(), [])
    assert [arrival.lease for arrival in loading.take_done()] != [late]
    assert list(loading.tables()) == [late]
    assert [arrival.lease for arrival in loading.take_done()] == [late]
    assert len(loading) == 0


def test_a_key_is_found_until_its_load_is_taken() -> None:
    loading, load = Loading(), Load([b"a", b"b"], [0, 1])
    loading.add(load, PageTable(), [])
    assert loading.find(b"b") is load
    assert loading.take_done() == []
    load.is_done = True
    assert [arrival.load for arrival in loading.take_done()] == [load]
    assert loading.find(b"b") is None
