"""A query may choose the policy of its engines; it holds while such queries run."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from backends.errors import ConfigError
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy
from backends.policy.fcfs import fcfs
from backends.policy.topology import topology
from runtime.clock import now, run_virtual
from runtime.waiting.choices import PolicyChoices

Worlds = Callable[..., Any]

GROUP = """graph g {
  %xs = input [type="list[str]"]
  %m = map %xs {
    %x = input [type="str"]
    %v = embed %x [engine="embedder"]
    return %v
  }
  return %m
}"""


class Engine:
    def __init__(self) -> None:
        self.name = "llm"
        self.policy: Policy = application_aware

    def set_policy(self, policy: Policy) -> None:
        self.policy = policy


def test_a_policy_holds_until_the_last_query_that_asked_for_it_ends() -> None:
    engine, choices = Engine(), PolicyChoices(application_aware)
    with choices.held([engine, engine], fcfs):
        with choices.held([engine], fcfs), choices.held([engine], None):
            assert engine.policy is fcfs
        assert engine.policy is fcfs
    assert engine.policy is application_aware
    with choices.held([engine], topology):
        assert engine.policy is topology


def test_two_policies_cannot_hold_at_one_engine_and_the_second_changes_nothing() -> None:
    engine, other, choices = Engine(), Engine(), PolicyChoices(application_aware)
    with choices.held([engine], fcfs):
        with (
            pytest.raises(ConfigError, match="'llm' cannot be ordered by policy 'topology' now"),
            choices.held([other, engine], topology),
        ):
            pass
        assert (engine.policy, other.policy) == (fcfs, application_aware)


@pytest.mark.parametrize(("policy", "ends"), [(None, [2.0, 4.0]), (topology, [4.0, 4.0])])
def test_the_policy_of_a_query_orders_what_waits_at_its_engines(
    world: Worlds, policy: Policy | None, ends: list[float]
) -> None:
    """Two queries of four requests each, in batches of two: one after the other, or in turns."""
    found = world(embedder={"latency_s": 1.0, "max_batch_items": 2})

    async def end_s() -> float:
        await found.run(GROUP, {"xs": ["a", "b", "c", "d"]}, policy=policy)
        return now()

    async def both() -> list[float]:
        return await asyncio.gather(end_s(), end_s())

    assert run_virtual(both()) == ends
