"""What ended is held by nobody, also while the engine has nothing to do."""

import gc
import weakref
from typing import Any

import pytest


@pytest.mark.parametrize("policy", ["auto", "fcfs", "mlfq", "vtc"])
def test_a_context_that_was_read_last_is_garbage_when_nobody_holds_it(
    tiny: Any, policy: str
) -> None:
    driver = tiny.driver(policy=policy, stops=False)
    context = driver.prefill(None, "the owl sat in the old oak")
    driver.decode(context, max_tokens=3)
    driver.outcomes.clear()
    held = weakref.ref(context)
    del context
    gc.collect()
    assert held() is None
    driver.core.check_integrity()
    assert driver.core.cache_stats().idle_contexts == 0
