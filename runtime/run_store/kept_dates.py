"""Dates and times as what JSON has, and back, with the time zone by its name.

A time of a zone that cannot be made again (one of another package) has content all the same: it
fails where it is read.
"""

from collections.abc import Sequence
from datetime import datetime, time, timedelta, timezone, tzinfo
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic_core import TzInfo

Time = TypeVar("Time", datetime, time)


def plain_time(value: datetime | time) -> Sequence[Any]:
    zone = value.tzinfo
    is_told = zone is None or (type(zone) is timezone and repr(zone) == repr(_offset_of(zone)))
    if is_told and not value.fold:
        return (value.isoformat(),)
    said = [] if zone is None else _said(zone, value)
    return value.replace(tzinfo=None, fold=0).isoformat(), value.fold, *said


def rich_time(kind: type[Time], text: str, fold: int = 0, *zone: Any) -> Time:
    value = kind.fromisoformat(text)
    return value.replace(fold=fold, tzinfo=_zone(*zone) if zone else value.tzinfo)


def _said(zone: tzinfo, value: datetime | time) -> list[Any]:
    if type(zone) is timezone:
        return ["offset", _seconds(zone), zone.tzname(None)]
    if type(zone) is ZoneInfo and zone.key is not None:
        return ["zone", zone.key]
    if type(zone) is TzInfo:  # of what pydantic reads
        return ["pydantic", _seconds(zone)]
    return [f"{type(zone).__module__}.{type(zone).__qualname__}", str(value.utcoffset())]


def _zone(kind: str, *said: Any) -> tzinfo:
    if kind == "zone":
        return ZoneInfo(*said)
    if kind == "pydantic":
        return TzInfo(*said)
    if kind == "offset":
        return timezone(timedelta(seconds=said[0]), said[1])
    raise TypeError(f"a time zone of {kind} is not kept: use zoneinfo or datetime.timezone")


def _offset_of(zone: timezone) -> timezone:
    return timezone(zone.utcoffset(None))


def _seconds(zone: tzinfo) -> float:
    offset = zone.utcoffset(None)
    assert offset is not None, "an offset of its own"
    return offset.total_seconds()
