"""Fair between queries by virtual time (Justitia, arXiv 2510.17015): least ideal finish first.

All that waits of the query that a server shared in equal parts would finish first goes first. So
queries are served one after another, and yet none ends later than under equal shares, but for the
longest request. Shares are those of queries: a tenant with many has many. Bound: end <= end under
GPS + longest request, for queries whose work is known and waits from their arrival on.
"""

from backends.policy.base import Policy
from backends.policy.virtual_time import VirtualFinish

justitia = Policy(
    "justitia",
    flow=lambda ticket: ticket.place.query,
    turn=lambda flow: flow.value,
    rank=lambda ticket: -ticket.place.left_s,
    drains=True,
    account=VirtualFinish,
)
