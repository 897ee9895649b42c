"""Warns of what a run says of itself, its tenant or its deadline, where no policy goes by that."""

import warnings
from collections.abc import Iterable, Mapping

from backends.policy.base import Policy
from backends.policy.named import POLICIES
from backends.registry import EngineSpec

IN_THIS_PROCESS = ("local:", "hf:", "emulated:", "fake:", "process:")  # whose order is known


class OptionUnread(UserWarning):
    """An option of a run changes nothing, since no policy at its engines goes by it."""


class UnreadOptions:
    """Warns once of each option under each policy."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def check(
        self, given: Iterable[str], policies: Iterable[Policy], engines: Iterable[EngineSpec]
    ) -> None:
        """`given` are the options that the run names, `policies` those that order its engines."""
        for option in given:
            known = {policy.name: policy for policy in policies}
            if any(_goes_by(policy, option) for policy in known.values()):
                continue
            key = option, " and ".join(sorted(known))
            if key in self._told or any(_may_go_by(each, option) for each in engines):
                continue
            self._told.add(key)
            _warn(*key)


def _goes_by(policy: Policy, option: str) -> bool:
    """Of one that is not ours nobody knows."""
    return option in policy.goes_by or POLICIES.get(policy.name) is not policy


def _may_go_by(engine: EngineSpec, option: str) -> bool:
    """Whether the engine itself may: one with an order of its own, or behind a server."""
    if engine.kind != "llm":
        return False
    own = _policy_of(engine.url, engine.options)
    in_order = own in POLICIES and option in POLICIES[own].goes_by
    return in_order or not engine.url.startswith(IN_THIS_PROCESS)


def _policy_of(url: str, options: Mapping[str, object]) -> str:
    behind = [each.removeprefix("policy=") for each in url.partition("?")[2].split("&")]
    return str(options.get("policy") or next((name for name in behind if name in POLICIES), ""))


def _warn(option: str, policies: str) -> None:
    able = " or ".join(repr(name) for name, each in POLICIES.items() if option in each.goes_by)
    warnings.warn(
        f"{option}= changes nothing under the policy {policies!r}; policy={able} goes by it",
        OptionUnread,
        stacklevel=2,
    )
