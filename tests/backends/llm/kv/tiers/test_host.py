"""Pages in host memory: which one goes first."""

import torch

from backends.llm.kv.tiers.host import HostTier


def page(number: int) -> torch.Tensor:
    return torch.full((4,), number, dtype=torch.uint8)


def test_what_was_used_longest_ago_is_the_oldest_and_its_slot_is_used_again() -> None:
    host = HostTier(2, 4, is_pinned=False)
    host.put(b"a", page(1))
    host.put(b"b", page(2))
    assert host.is_full
    found = host.get(b"a")
    assert found is not None
    assert found.tolist() == [1] * 4
    key, row = host.oldest()
    assert (key, row.tolist()) == (b"b", [2] * 4)
    host.drop(b"b")
    host.put(b"c", page(3))
    assert host.in_order() == [b"a", b"c"]
    assert host.get(b"b") is None
    host.check_integrity()
