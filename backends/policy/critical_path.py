"""The longest way to the end of its query first, with ageing.

    key = arrival - AGEING * seconds left        the least goes first

A request may be overtaken by one that arrives up to AGEING * (its longer way) later, and by no
other, so none starves. The key never changes: the queue stays O(log n).
"""

from backends.policy.base import Policy, Ticket

AGEING = 1.0  # seconds of arrival for each second of the way that is left


def _turn_s(ticket: Ticket) -> float:
    return ticket.arrival_s - AGEING * ticket.place.left_s


critical_path = Policy("critical_path", rank=_turn_s, turn_s=_turn_s)
