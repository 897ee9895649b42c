"""Pages in host memory: which one goes first."""

from itertools import pairwise

import torch

from backends.llm.kv.eviction import POLICIES, pgdsf
from backends.llm.kv.tiers.host import HostTier, Origin


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
    key, row = host.lowest()
    assert (key, row.tolist()) == (b"b", [2] * 4)
    host.drop(b"b")
    host.put(b"c", page(3))
    assert host.in_order() == [b"a", b"c"]
    assert host.get(b"b") is None
    host.check_integrity()


def chain(host: HostTier, *keys: bytes, num_uses: int = 1, seconds: float = 1.0) -> None:
    """Pages that follow each other, put as they leave the pool: the last first."""
    for before, key in reversed(list(pairwise((b"", *keys)))):
        host.put(key, b"kv", Origin(before, num_uses, seconds))


def dropped(host: HostTier) -> list[bytes]:
    """In which order all pages go."""
    found = []
    while len(host):
        key, _ = host.lowest()
        host.drop(key)
        host.check_integrity()
        found.append(key)
    return found


def test_no_page_goes_before_those_that_follow_it() -> None:
    for policy in POLICIES.values():
        host = HostTier(8, None, False, policy)
        chain(host, b"a", b"b", b"c")
        host.put(b"d", b"kv", Origin(b"b", 1, 1.0))
        for _ in range(3):
            host.get(b"c")
        order = dropped(host)
        assert order.index(b"d") < order.index(b"b") < order.index(b"a")
        assert order.index(b"c") < order.index(b"b")


def test_pgdsf_keeps_what_was_used_more_and_what_takes_longer() -> None:
    host = HostTier(8, None, False, pgdsf)
    chain(host, b"often", num_uses=3)
    chain(host, b"slow", seconds=2.0)
    chain(host, b"plain")
    chain(host, b"asked")
    host.get(b"asked")
    host.get(b"asked")
    host.get(b"asked")
    assert dropped(host) == [b"plain", b"slow", b"often", b"asked"]


def test_pgdsf_forgets_old_fame_by_the_clock_of_the_tier() -> None:
    host = HostTier(2, None, False, pgdsf)
    chain(host, b"famous", num_uses=5)
    lives = 0
    for number in range(8):  # each is dropped a use above the one before
        chain(host, bytes([number]))
        host.get(bytes([number]))
        key, _ = host.lowest()
        host.drop(key)
        lives += b"famous" in host
    assert 1 <= lives < 8
