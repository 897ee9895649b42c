"""The longest way to the end of its query first, with ageing.

    key = arrival - AGEING * seconds left        the least goes first

A request may be overtaken by one that arrives up to AGEING * (its longer way) later, and by no
other, so none starves. The key never changes: the queue stays O(log n).
"""

from backends.policy.base import Policy

AGEING = 1.0  # seconds of arrival for each second of the way that is left

critical_path = Policy(
    "critical_path", rank=lambda ticket: ticket.arrival_s - AGEING * ticket.place.left_s
)
