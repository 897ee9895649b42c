"""Parrot's order (OSDI'24, Algorithm 1): task groups as gangs, and peers of one prefix together.

Units in the order of arrival: the task group of a request; else the waiting requests whose prompts
begin alike, as those of one node of an app do; else itself. Objectives are kept apart.
"""

from collections.abc import Hashable

from backends.policy.application_aware import due_s, group_of
from backends.policy.base import Policy, Ticket


def _gang(ticket: Ticket) -> Hashable | None:
    return group_of(ticket) or ticket.place.node or None


parrot = Policy("parrot", unit=_gang, rank=lambda ticket: ticket.order, held_until_s=due_s)
