"""Where a request stands, as teola's server takes it in the field `place`, and what it tells back.

Times go as seconds from now: the server has a clock of its own. Queries of several processes have
equal names, so each name begins with that of its process: `3f2a91c0.q7`.
"""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from math import isfinite
from typing import Any
from uuid import uuid4

from backends.place import Left, Place
from backends.request_limits import MAX_PLACE_CHARS, MAX_PLACE_S
from backends.served import Served, served_from

_PROCESS = f"{uuid4().hex[:8]}."
_NOTHING = (None, "", 0, "latency")


def place_fields(
    place: Place | None, is_heard: bool, now_s: float, *, tells_guess: bool = False
) -> dict[str, Any]:
    """The fields of a body; what says nothing is left out."""
    found: dict[str, Any] = {"return_served": True} if is_heard else {}
    if place is None or not place.query:
        return found
    left = place.left
    said = {
        "query": _name(_PROCESS + place.query),
        "left_s": _seconds(place.left_s),
        "depth": place.depth,
        "group": place.group and _name(place.group),
        "objective": place.objective,
        "node": _name(place.node),
        "work_s": _seconds(place.work_s),
        "tenant": _name(place.tenant),
        "program": place.program and _name(_PROCESS + place.program),
        "policy": place.policy,
    }
    said = {name: value for name, value in said.items() if value not in _NOTHING}
    if place.deadline_s is not None:
        said["due_in_s"] = _seconds(place.deadline_s - now_s, least=-MAX_PLACE_S)
    if left is not None:
        said["query_left_s"] = _seconds(left.work_s)
        said["query_age_s"] = _seconds(now_s - left.since_s)
    if tells_guess and left is not None and left.is_guess:
        said["guess"] = guess_name(left)
    return {**found, "place": said}


def guess_name(left: Left) -> str:
    """All requests of one guess share it."""
    return f"{_PROCESS}{id(left):x}"


def served_of(usage: object) -> Served | None:
    """How the server's engine served a request, with this process' own names of its queries."""
    served = served_from(usage.get("served")) if isinstance(usage, Mapping) else None
    if served is None:
        return None
    behind = tuple((name.removeprefix(_PROCESS), time_s) for name, time_s in served.behind)
    by = served.preempted_by.removeprefix(_PROCESS)
    return replace(served, behind=behind, preempted_by=by)


def _name(name: str) -> str:
    """A long one keeps its begin."""
    if len(name) <= MAX_PLACE_CHARS:
        return name
    digest = blake2b(name.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{name[: MAX_PLACE_CHARS - len(digest)]}{digest}"


def _seconds(value: float, least: float = 0.0) -> float:
    if not isfinite(value):
        return MAX_PLACE_S if value > 0 else least
    return round(min(max(value, least), MAX_PLACE_S), 6)
