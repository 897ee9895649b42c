"""Fair between tenants by token counters (VTC, arXiv 2401.00588): who got least goes first.

Prefilled tokens count 1, decoded ones 2. Bound: two tenants that both wait all the time differ in
service by at most 2 * S * U, for S requests that run at once and U the most that one costs.
"""

from backends.policy.accounts import TokenCounters
from backends.policy.base import Policy

vtc = Policy(
    "vtc",
    flow=lambda ticket: ticket.place.tenant,
    turn=lambda flow: flow.value,
    rank=lambda ticket: ticket.order,
    account=TokenCounters,
)
