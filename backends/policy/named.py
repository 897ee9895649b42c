"""Policies by name."""

from collections.abc import Mapping

from backends.errors import ConfigError
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy
from backends.policy.fcfs import fcfs
from backends.policy.topology import topology

POLICIES: Mapping[str, Policy] = {
    policy.name: policy for policy in (application_aware, topology, fcfs)
}


def policy_named(policy: str | Policy) -> Policy:
    """The policy of that name; a policy is given back as it is. Raises ConfigError."""
    if isinstance(policy, Policy):
        return policy
    if policy not in POLICIES:
        raise ConfigError(f"unknown policy {policy!r}; known: {', '.join(sorted(POLICIES))}")
    return POLICIES[policy]
