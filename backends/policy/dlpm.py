"""Fair between tenants with room for locality (DLPM, arXiv 2501.14312): deficits of QUANTUM tokens.

Tenants that used fewer whole quanta go first; of those, the request with the longest known prefix.
Refilling all deficits when none is left is the same as counting quanta. Bound: as `vtc`, and
2 * QUANTUM more. Known prefixes are the engine's to tell; before it, requests go by arrival.
"""

from backends.policy.accounts import TokenCounters
from backends.policy.base import FlowView, Policy

QUANTUM = 4096.0  # weighted tokens that a tenant may be ahead


def _turn(flow: FlowView) -> tuple[float, int]:
    return flow.value // QUANTUM, -flow.first.num_known


dlpm = Policy(
    "dlpm",
    flow=lambda ticket: ticket.place.tenant,
    turn=_turn,
    rank=lambda ticket: -ticket.num_known,
    account=TokenCounters,
    drains=True,
    reads_known=True,
    goes_by=("tenant",),
)
