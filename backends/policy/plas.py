"""Program-level attained service, least first (Autellix, arXiv 2502.13965: PLAS).

A program is a query, or the session that its segments and agents belong to. Without knowing what
is left, one that was served little is expected to be short.
"""

from backends.policy.accounts import Attained
from backends.policy.base import Policy

plas = Policy(
    "plas",
    flow=lambda ticket: ticket.place.program or ticket.place.query,
    turn=lambda flow: flow.value,
    rank=lambda ticket: ticket.order,
    drains=True,
    account=Attained,
    patience_s=10.0,
)
