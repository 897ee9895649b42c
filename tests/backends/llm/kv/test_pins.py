"""Pinned contexts, what they leave to others, and namespaces of the cache."""

from typing import Any

import pytest

from backends.errors import EngineOverloaded, RequestRejected, RequestTooLong

TEXT = "the owl sat in the old oak and said nothing at all "


def resident(context: Any) -> int:
    return context.table.num_computed


def fill(driver: Any, num_tokens: int, letter: str = "z") -> None:
    """Ask for so many pages and give them back."""
    driver.prefill(None, letter * num_tokens).release()
    driver.outcomes.clear()


def test_a_pinned_context_keeps_its_kv_under_any_pressure(tiny: Any) -> None:
    driver = tiny.driver(kv_tokens=128, stops=False, page_size=8)
    pinned, other = driver.prefill(None, TEXT), driver.prefill(None, "b" * 30)
    assert driver.core.pins.pin(pinned) == len(TEXT) - 1
    fill(driver, 72)
    assert resident(pinned) == len(TEXT) - 1
    assert resident(other) == 0
    assert driver.core.cache_stats().pinned_pages == 7
    pinned.release()
    fill(driver, 128, "y")
    assert driver.core.cache_stats().pinned_pages == 0


def test_pins_take_no_more_than_their_share(tiny: Any) -> None:
    driver = tiny.driver(kv_tokens=128, page_size=8, pin_share=0.5)
    first, second = driver.prefill(None, "a" * 40), driver.prefill(None, "b" * 40)
    driver.core.pins.pin(first)
    with pytest.raises(EngineOverloaded, match="10 pages would be pinned, and 8 may be"):
        driver.core.pins.pin(second)
    driver.core.pins.pin(first)  # again: nothing more
    driver.core.check_integrity()


def test_contexts_that_share_pages_pin_them_once(tiny: Any) -> None:
    driver = tiny.driver(kv_tokens=128, page_size=8, pin_share=0.5)
    root = driver.prefill(None, "a" * 49)  # 6 pages
    for context in (driver.prefill(root, "b"), root):
        driver.core.pins.pin(context)
    assert driver.core.cache_stats().pinned_pages == 7  # the longer one's tail is on one more


def test_a_request_that_pins_leave_no_room_for_is_refused(tiny: Any) -> None:
    driver = tiny.driver(kv_tokens=128, page_size=8)
    driver.core.pins.pin(driver.prefill(None, "a" * 60))
    with pytest.raises(EngineOverloaded, match="needs 13 pages and pinned contexts leave 8"):
        driver.prefill(None, "z" * 100)
    with pytest.raises(RequestTooLong):
        driver.prefill(None, "z" * 300)


def test_a_pin_never_takes_what_a_running_request_may_need(tiny: Any) -> None:
    driver = tiny.driver(kv_tokens=128, page_size=8, stops=False)
    context = driver.prefill(None, "a" * 60)
    decode = driver.submit("decode", driver.prefill(None, "b"), max_tokens=80)
    driver.step()
    with pytest.raises(EngineOverloaded, match="8 pages would be pinned, and 6 may be"):
        driver.core.pins.pin(context)
    driver.run(decode)


def test_releasing_a_pinned_context_ends_its_pin(tiny: Any) -> None:
    driver = tiny.driver(kv_tokens=128, page_size=8)
    context = driver.prefill(None, TEXT)
    driver.core.pins.pin(context)
    context.release()
    driver.core.check_integrity()
    assert driver.core.cache_stats().pinned_pages == 0
    with pytest.raises(RequestRejected, match="released"):
        driver.core.pins.pin(context)


def test_pins_are_for_contexts_of_this_engine(tiny: Any) -> None:
    with pytest.raises(RequestRejected, match="no context of this engine"):
        tiny.driver().core.pins.pin(tiny.driver().prefill(None, "abc"))


@pytest.mark.parametrize("eviction", ["lru", "lfu", "pgdsf"])
def test_every_policy_changes_no_token(tiny: Any, eviction: str) -> None:
    prompts = [f"{i} {TEXT}" for i in range(6)]
    small = tiny.driver(kv_tokens=160, stops=False, page_size=8, eviction=eviction)
    roomy = tiny.driver(stops=False)
    for prompt in prompts + prompts[::-1]:
        short = small.decode(small.prefill(None, prompt), max_tokens=8).outputs[0]
        assert short == roomy.decode(roomy.prefill(None, prompt), max_tokens=8).outputs[0]
    assert small.core.cache_stats().evicted_pages > 0


def test_tenants_with_other_salts_share_nothing(tiny: Any) -> None:
    driver = tiny.driver()
    first = driver.call("prefill", None, TEXT, cache_salt="anna")
    again = driver.call("prefill", None, TEXT, cache_salt="anna")
    other = driver.call("prefill", None, TEXT, cache_salt="ben")
    plain = driver.call("prefill", None, TEXT)
    assert [r.usage.cached_tokens for r in (first, again, other, plain)] == [0, 48, 0, 0]


def test_a_context_hands_its_salt_on(tiny: Any) -> None:
    driver = tiny.driver(stops=False)
    context = driver.prefill(driver.call("prefill", None, TEXT, cache_salt="anna").outputs[0], TEXT)
    answer = driver.decode(context, max_tokens=8).outputs[1]
    assert answer.salt == context.salt == "anna"
    assert driver.call("prefill", None, TEXT + TEXT).usage.cached_tokens == 0


@pytest.mark.parametrize("op", ["prefill", "decode"])
def test_a_fork_into_another_namespace_is_refused(tiny: Any, op: str) -> None:
    driver = tiny.driver()
    salted = driver.call("prefill", None, TEXT, cache_salt="anna").outputs[0]
    with pytest.raises(RequestRejected, match="another cache_salt"):
        driver.call(op, salted, cache_salt="ben")
    with pytest.raises(RequestRejected, match="another cache_salt"):
        driver.call(op, driver.prefill(None, TEXT), cache_salt="ben")
    driver.call(op, salted, cache_salt="anna")


@pytest.mark.parametrize("salt", ["", 7])
def test_a_salt_is_a_text(tiny: Any, salt: object) -> None:
    with pytest.raises(RequestRejected, match="cache_salt must be a text"):
        tiny.driver().call("prefill", None, TEXT, cache_salt=salt)


def test_a_long_prompt_is_compared_once_and_not_again_in_every_step(tiny: Any) -> None:
    driver = tiny.driver(stops=False, token_budget=16, page_size=4)
    driver.prefill(None, "a" * 400)  # 25 steps of 4 pages
    after_prefill = driver.core.cache_stats().pages_compared
    assert after_prefill <= 4 * 100  # from the root each time it would be 1,300 and more
    result = driver.decode(driver.prefill(None, "b" * 20), max_tokens=60)
    assert result.usage.decode_tokens == 60
    assert driver.core.cache_stats().pages_compared - after_prefill <= 3 * 20


def test_a_context_that_grows_stays_one_edge(tiny: Any) -> None:
    driver = tiny.driver(stops=False, token_budget=16, page_size=4)
    driver.decode(driver.prefill(None, "a" * 100), max_tokens=50)
    assert sum(1 for node in driver.core.cache.tree.nodes() if node.pages) <= 2


def test_select_stays_in_its_contexts_namespace(tiny: Any) -> None:
    driver = tiny.driver()
    salted = driver.call("prefill", None, TEXT, cache_salt="anna").outputs[0]
    assert driver.call("select", salted, ["yes", "no"]).outputs[2].salt == "anna"
    with pytest.raises(RequestRejected, match="another cache_salt"):
        driver.call("select", salted, ["yes", "no"], cache_salt="ben")
