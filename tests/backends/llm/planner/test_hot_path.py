"""What planning a step of decodes must not do: it is run for every token."""

from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]


@pytest.mark.parametrize("policy", ["fcfs", "sarathi", "lpm", "slo", "application_aware"])
def test_a_full_step_of_decodes_looks_nothing_up_and_names_only_full_pages(
    engine: Make, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven = engine(policy=policy, max_running=8, page_size=16)
    for _ in range(40):
        driven.add(20, num_output=100)
    driven.step(8)
    calls = dict.fromkeys(("peek", "match", "publish"), 0)
    cache = driven.core.cache
    for name in calls:
        monkeypatch.setattr(cache, name, _counted(calls, name, getattr(cache, name)))
    driven.step(16)
    assert calls == {"peek": 0, "match": 0, "publish": 8}  # a page of 16 tokens each


def _counted(calls: dict[str, int], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any) -> Any:
        calls[name] += 1
        return call(*args)

    return counted
