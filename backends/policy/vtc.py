"""Fair between tenants by token counters (VTC, arXiv 2401.00588): who got least goes first.

Prefilled tokens count 1, decoded ones 2. Bound: two tenants that both wait all the time differ in
service by at most 2 * S * U, for S requests that run at once (of all slots and batches) and U the
most that one costs. A batch is filled from the tenant that got least, then from the next: turns of
one request each would serve all alike, whatever their requests cost.
"""

from backends.policy.accounts import TokenCounters
from backends.policy.base import Policy

vtc = Policy(
    "vtc",
    flow=lambda ticket: ticket.place.tenant,
    turn=lambda flow: flow.value,
    rank=lambda ticket: ticket.order,
    drains=True,
    account=TokenCounters,
    goes_by=("tenant",),
)
