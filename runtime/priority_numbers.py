"""The order of a policy for engines in other processes: its name, or one integer a request for
those that order what waits by that alone.

    number = CLASS * priority - tenths of a second, since 1970, at which its turn is due

The larger is the more urgent. The time at which a turn is due, as `application_aware` has it for
instance, does not change while the request waits, so numbers of requests that were sent at
different times compare; so do those of several processes, by the clock on the wall.
"""

from collections.abc import Sequence
from dataclasses import replace

from backends.base import EngineInfo, Request
from backends.policy.base import Policy
from backends.policy.named import POLICIES
from runtime.clock import date, now
from runtime.job import Job

CLASS = 10**12  # apart: throughput work goes behind all that somebody waits for
GUESS_PRIORITY = -2  # behind what is done when there is time
PER_S = 10  # SGLang lets requests that are more urgent by more than 10 take a running one's slot


def requests_for(
    info: EngineInfo, policy: Policy, batch: Sequence[Job], *, by_place: bool = False
) -> list[Request]:
    """Those of a batch, as this engine takes them; `by_place` where it reads guesses in places."""
    is_told = by_place or "guesses" in info.capabilities
    requests = [job.request if is_told or not job.place.is_guess else _behind(job) for job in batch]
    if "policies" in info.capabilities and POLICIES.get(policy.name) is policy:
        return [_named(request, policy.name) for request in requests]
    if policy.turn_s is None or "priorities" not in info.capabilities:
        return requests
    ahead_s = date().timestamp() - now()
    dues = [round(PER_S * (ahead_s + policy.turn_s(job))) for job in batch]
    return [_numbered(request, due) for request, due in zip(requests, dues, strict=True)]


def _behind(job: Job) -> Request:
    return replace(job.request, priority=GUESS_PRIORITY)


def _named(request: Request, policy: str) -> Request:
    if request.place is None:
        return request
    return replace(request, place=replace(request.place, policy=policy))


def _numbered(request: Request, due: int) -> Request:
    return replace(request, priority=CLASS * request.priority - due)
