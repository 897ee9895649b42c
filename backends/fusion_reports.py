"""Reports of KV cache fusion: several as one, and read from JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from backends.base import FusionReport


def total_report(reports: Iterable[FusionReport | None]) -> FusionReport | None:
    """Of prompts with one plan; None where none was fused."""
    found: FusionReport | None = None
    for report in reports:
        found = report if found is None else _sum(found, report)
    return found


def report_from(value: object) -> FusionReport | None:
    """Of a trace file or a server's answer; None for what is no report."""
    if not isinstance(value, Mapping):
        return None
    try:
        return _read(value)
    except (TypeError, ValueError):
        return None


def _read(value: Mapping[str, Any]) -> FusionReport:
    return FusionReport(
        plan=str(value.get("plan", "?")),
        num_chunks=int(value.get("num_chunks", 0)),
        num_encoded=int(value.get("num_encoded", 0)),
        num_tokens=int(value.get("num_tokens", 0)),
        rows=tuple(map(int, value.get("rows", ()))),
        saved_s=float(value.get("saved_s", 0.0)),
    )


def _sum(one: FusionReport, other: FusionReport | None) -> FusionReport:
    if other is None:
        return one
    return replace(
        one,
        num_chunks=one.num_chunks + other.num_chunks,
        num_encoded=one.num_encoded + other.num_encoded,
        num_tokens=one.num_tokens + other.num_tokens,
        rows=tuple(map(sum, zip(one.rows, other.rows, strict=False))),
        saved_s=one.saved_s + other.saved_s,
    )
