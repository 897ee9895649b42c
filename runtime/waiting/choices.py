"""Which policy orders the requests at an engine, while queries that asked for one run.

An engine is shared, and what waits at it has one order. So a query may ask for a policy; it holds
until no query that asked for it runs, for the requests of all queries. Two different ones cannot
hold at once.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from backends.errors import ConfigError
from backends.policy.base import Policy


class Ordered(Protocol):
    """What has a policy: the scheduler of an engine."""

    @property
    def name(self) -> str: ...

    def set_policy(self, policy: Policy) -> None:
        """Order by this policy from now on."""


class PolicyChoices:
    """Counts the queries that asked for a policy, engine by engine."""

    def __init__(self, default: Policy) -> None:
        self._default = default
        self._chosen: dict[Ordered, tuple[Policy, int]] = {}  # with the number of queries

    @contextmanager
    def held(self, schedulers: Iterable[Ordered], policy: Policy | None) -> Iterator[None]:
        """Order by `policy`, or by what others asked for if it is None.

        Raises ConfigError if a running query asked for another one.
        """
        if policy is None:
            yield
            return
        wanted = list({id(scheduler): scheduler for scheduler in schedulers}.values())
        for scheduler in wanted:
            self._check(scheduler, policy)
        for scheduler in wanted:
            self._hold(scheduler, policy)
        try:
            yield
        finally:
            for scheduler in wanted:
                self._let_go(scheduler)

    def _check(self, scheduler: Ordered, policy: Policy) -> None:
        chosen, _ = self._chosen.get(scheduler, (policy, 0))
        if chosen is not policy:
            raise ConfigError(
                f"engine {scheduler.name!r} cannot be ordered by policy {policy.name!r} now: a "
                f"query that runs asked for {chosen.name!r}, and an engine has one order"
            )

    def _hold(self, scheduler: Ordered, policy: Policy) -> None:
        _, count = self._chosen.get(scheduler, (policy, 0))
        self._chosen[scheduler] = (policy, count + 1)
        scheduler.set_policy(policy)

    def _let_go(self, scheduler: Ordered) -> None:
        policy, count = self._chosen.pop(scheduler)
        if count > 1:
            self._chosen[scheduler] = (policy, count - 1)
        else:
            scheduler.set_policy(self._default)
