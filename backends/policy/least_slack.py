"""The least slack first: what must begin soonest for its query to meet its deadline.

    key = deadline - seconds left        slack is the key less the time, which is the same for all

A query without a deadline has one NO_DEADLINE_S after its request arrives; so none starves.
"""

from backends.policy.base import Policy, Ticket

NO_DEADLINE_S = 120.0


def _latest_start_s(ticket: Ticket) -> float:
    deadline_s = ticket.place.deadline_s
    due_s = ticket.arrival_s + NO_DEADLINE_S if deadline_s is None else deadline_s
    return due_s - ticket.place.left_s


least_slack = Policy(
    "least_slack",
    rank=_latest_start_s,
    goes_by=("deadline_s",),
    turn_s=_latest_start_s,
)
