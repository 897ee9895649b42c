"""The bounded cache."""

import threading

from frontend_dsl.bounded import BoundedCache


def test_what_was_used_longest_ago_goes_first() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1  # used now
    cache.put("c", 3)
    assert list(cache) == ["a", "c"]
    assert cache.get("b") is None


def test_putting_a_key_again_replaces_its_value_and_drops_no_other() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.put("a", 3)
    assert [cache.get("a"), cache.get("b"), len(cache)] == [3, 2, 2]


def test_a_value_is_made_once() -> None:
    cache: BoundedCache[str, list[int]] = BoundedCache(2)
    first = cache.get_or_make("a", lambda: [1])
    assert cache.get_or_make("a", lambda: [2]) is first


def test_threads_may_share_it() -> None:
    cache: BoundedCache[int, int] = BoundedCache(8)
    wrong: list[int] = []

    def use(seed: int) -> None:
        for i in range(2000):
            key = (i * seed) % 20
            if cache.get_or_make(key, lambda k=key: k) != key:  # type: ignore[misc]
                wrong.append(key)

    threads = [threading.Thread(target=use, args=(n,)) for n in (1, 3, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(cache) == 8
