"""Pages under random traffic: nothing leaks, nothing is freed twice, no token changes."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TEXTS = ("a", "ab" * 9, "the same beginning, ", "the same beginning, another end", "x" * 37)
ACTIONS = st.one_of(
    st.tuples(st.just("prefill"), st.integers(0, 9), st.sampled_from(TEXTS)),
    st.tuples(st.just("decode"), st.integers(0, 9), st.integers(1, 30)),
    st.tuples(st.just("release"), st.integers(0, 9), st.none()),
    st.tuples(st.just("abort"), st.integers(0, 9), st.none()),
    st.tuples(st.just("step"), st.integers(1, 6), st.none()),
)


@pytest.mark.parametrize(("page_size", "kv_tokens"), [(4, 128), (1, 110), (16, 160)])
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=st.lists(ACTIONS, max_size=40))
def test_random_traffic_keeps_the_books(
    tiny: Any, page_size: int, kv_tokens: int, actions: list[tuple[str, int, Any]]
) -> None:
    driver = tiny.driver(
        kv_tokens, stops=False, page_size=page_size, token_budget=24, max_running=4, context_len=100
    )
    contexts = [driver.prefill(None, "root")]
    live: list[str] = []
    decoded: dict[str, list[int]] = {}  # request -> prompt
    for action, which, argument in actions:
        context = contexts[which % len(contexts)]
        if action == "prefill" and context.num_tokens + len(argument) < 100:
            live.append(driver.submit("prefill", context, argument))
        elif action == "decode" and context.num_tokens < 100:
            live.append(driver.submit("decode", context, max_tokens=argument))
            decoded[live[-1]] = context.ids
        elif action == "release":
            context.release()
        elif action == "abort" and live:
            driver.core.abort(live.pop(which % len(live)))
        elif action == "step":
            for _ in range(which):
                driver.step()
        driver.core.check_integrity()
        contexts += [driver.outcomes[r].outputs[-1] for r in live if r in driver.outcomes]
        live = [r for r in live if r not in driver.outcomes]
    driver.run()
    check_tokens(tiny, driver, decoded)
    for context in contexts:
        context.release()
    for outcome in driver.outcomes.values():
        outcome.outputs[-1].release()
    driver.core.check_integrity()
    driver.core.cache.forget()
    assert driver.core.cache.pool.num_free == driver.core.cache.pool.num_pages


def check_tokens(tiny: Any, driver: Any, decoded: dict[str, list[int]]) -> None:
    """A few decodes again on a fresh core: pressure and sharing must not show."""
    for request_id, prompt in list(decoded.items())[:3]:
        if request_id in driver.outcomes:
            found = driver.outcomes[request_id].outputs[1].ids
            fresh = tiny.driver(stops=False)
            text = tiny.tokenizer.decode(prompt)
            context = fresh.prefill(None, text)
            if context.ids == prompt:
                again = fresh.decode(context, max_tokens=max(1, len(found) - len(prompt)))
                assert again.outputs[1].ids == found
