"""Policies by name."""

from collections.abc import Mapping

from backends.errors import ConfigError
from backends.policy.application_aware import application_aware
from backends.policy.atlas import atlas
from backends.policy.base import Policy
from backends.policy.critical_path import critical_path
from backends.policy.dlpm import dlpm
from backends.policy.fcfs import fcfs
from backends.policy.justitia import justitia
from backends.policy.least_slack import least_slack
from backends.policy.parrot import parrot
from backends.policy.per_invocation import per_invocation
from backends.policy.plas import plas
from backends.policy.shortest_remaining import shortest_remaining
from backends.policy.topology import topology
from backends.policy.topology_published import topology_published
from backends.policy.vtc import vtc

POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        application_aware,
        atlas,
        critical_path,
        dlpm,
        fcfs,
        justitia,
        least_slack,
        parrot,
        per_invocation,
        plas,
        shortest_remaining,
        topology,
        topology_published,
        vtc,
    )
}


def policy_named(policy: str | Policy) -> Policy:
    """The policy of that name; a policy is given back as it is. Raises ConfigError."""
    if isinstance(policy, Policy):
        return policy
    if policy not in POLICIES:
        raise ConfigError(f"unknown policy {policy!r}; known: {', '.join(sorted(POLICIES))}")
    return POLICIES[policy]
