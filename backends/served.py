"""How an engine with steps of its own served a request: what it waited for inside the engine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypeVar

K = TypeVar("K", bound=str)

Limit = Literal[
    "seats",  # the step had as many sequences as it may have
    "tokens",  # the step had as many tokens as it may have
    "pages",  # its KV, or its adapter's weights, had no room or were not there yet
]


@dataclass(frozen=True, slots=True)
class Served:
    """Of one request whose listener asked (`Request.is_heard`)."""

    queued_s: float = 0.0  # in the engine, before its first step
    num_steps: int = 0  # that it took part in
    first_step: int = 0  # of them, by the engine's own count
    last_step: int = 0
    num_chunks: int = 0  # of them, those that computed its prompt
    largest_chunk: int = 0  # tokens
    num_paused: int = 0  # steps that ran without it between its first and its last
    paused_s: float = 0.0  # and what they took
    num_preempted: int = 0  # times that it lost its pages
    preempted_by: str = ""  # the query that took them last
    limits: tuple[tuple[Limit, float], ...] = ()  # seconds of steps without it, by what kept it out
    behind: tuple[tuple[str, float], ...] = ()  # seconds that queries were served in these steps,
    # the most first

    @property
    def fields(self) -> dict[str, Any]:
        """As it stands in an event: what is 0 or empty is left out."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: _plain(value) for name, value in values.items() if value}


def served_from(value: object) -> Served | None:
    """Of a trace file; None for what is no such record."""
    if not isinstance(value, Mapping):
        return None
    try:
        return _read(value)
    except (TypeError, ValueError):
        return None


def longest_served(records: Iterable[Served | None]) -> Served | None:
    """Of several samples, the one that took most steps."""
    return max(filter(None, records), key=lambda each: each.num_steps, default=None)


def one_after_another(records: Iterable[Served]) -> Served:
    """Of the parts of one piece of work: a prompt that was prefilled, and what is decoded behind
    it."""
    rows = [*records]
    return Served(
        queued_s=sum(each.queued_s for each in rows),
        num_steps=sum(each.num_steps for each in rows),
        first_step=min((each.first_step for each in rows if each.first_step), default=0),
        last_step=max((each.last_step for each in rows), default=0),
        num_chunks=sum(each.num_chunks for each in rows),
        largest_chunk=max((each.largest_chunk for each in rows), default=0),
        num_paused=sum(each.num_paused for each in rows),
        paused_s=sum(each.paused_s for each in rows),
        num_preempted=sum(each.num_preempted for each in rows),
        preempted_by=next((each.preempted_by for each in rows if each.preempted_by), ""),
        limits=_summed(each.limits for each in rows),
        behind=_summed(each.behind for each in rows),
    )


def _summed(rows: Iterable[Iterable[tuple[K, float]]]) -> tuple[tuple[K, float], ...]:
    """The most first."""
    found: dict[K, float] = {}
    for key, seconds in chain.from_iterable(rows):
        found[key] = found.get(key, 0.0) + seconds
    return tuple(sorted(found.items(), key=lambda each: -each[1]))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [[name, round(seconds, 6)] for name, seconds in value]
    return round(value, 6) if isinstance(value, float) else value


def _read(value: Mapping[str, Any]) -> Served:
    return Served(
        queued_s=float(value.get("queued_s", 0.0)),
        num_steps=int(value.get("num_steps", 0)),
        first_step=int(value.get("first_step", 0)),
        last_step=int(value.get("last_step", 0)),
        num_chunks=int(value.get("num_chunks", 0)),
        largest_chunk=int(value.get("largest_chunk", 0)),
        num_paused=int(value.get("num_paused", 0)),
        paused_s=float(value.get("paused_s", 0.0)),
        num_preempted=int(value.get("num_preempted", 0)),
        preempted_by=str(value.get("preempted_by", "")),
        limits=tuple((limit, float(seconds)) for limit, seconds in value.get("limits", ())),
        behind=tuple((str(query), float(seconds)) for query, seconds in value.get("behind", ())),
    )
