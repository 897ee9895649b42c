"""The order of a policy as one integer a request, for engines that order what waits by that alone.

    number = CLASS * priority - tenths of a second, since 1970, at which its turn is due

The larger is the more urgent. The time at which a turn is due, as `application_aware` has it for
instance, does not change while the request waits, so numbers of requests that were sent at
different times compare; so do those of several processes, by the clock on the wall.
"""

from collections.abc import Sequence
from dataclasses import replace

from backends.base import EngineInfo, Request
from backends.policy.base import Policy
from runtime.clock import date, now
from runtime.job import Job

CLASS = 10**12  # apart: throughput work goes behind all that somebody waits for
PER_S = 10  # SGLang lets requests that are more urgent by more than 10 take a running one's slot


def requests_for(info: EngineInfo, policy: Policy, batch: Sequence[Job]) -> list[Request]:
    """Those of a batch, as this engine takes them."""
    if policy.turn_s is None or "priorities" not in info.capabilities:
        return [job.request for job in batch]
    ahead_s = date().timestamp() - now()
    return [_numbered(job, round(PER_S * (ahead_s + policy.turn_s(job)))) for job in batch]


def _numbered(job: Job, due: int) -> Request:
    return replace(job.request, priority=CLASS * job.request.priority - due)
