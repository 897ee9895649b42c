"""Reads trace files, also those that a crash cut short or that hold several queries."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.events import Event
from teola.viewer.model import Trace, TraceBuilder
from teola.viewer.runs import runs, with_inside

_HEAD = b'{"t": '  # of each line
_NO_PLAN = (
    "the trace is cut off in its first line, which holds the plan: nothing of it can be shown; the "
    "process that wrote it was stopped, or a disk was full"
)


@dataclass(frozen=True, slots=True)
class TraceFile:
    """The queries of a file in order of their begin, and a sentence if its end is missing."""

    traces: tuple[Trace, ...]
    warning: str = ""

    @property
    def runs(self) -> tuple[Trace, ...]:
        """The same with the segments of each `async def` app as one."""
        return runs(self.traces)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Notebooks show the pages of `teola trace`."""
        from teola.viewer.notebook_bundle import bundle

        return bundle(*self.runs, warning=self.warning)


def read_trace_file(path: Path | str) -> TraceFile:
    """The queries of a trace file. Raises ValueError or OSError that names what is wrong."""
    path = Path(path)
    events, warning = read_events(path)
    try:
        traces = with_inside(list(_traces(events)))
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"{path} is not a trace that this version can read: {error}") from error
    if not traces:
        raise ValueError(f"{path} holds no query; a trace is written by `run-graph --trace FILE`")
    if not warning and any(trace.status == "running" for trace in traces):
        warning = "the record stops before the query's end: it is still running or it crashed"
    return TraceFile(traces, warning)


read_trace = read_trace_file  # its public name, `tl.read_trace`


def read_events(path: Path) -> tuple[list[Event], str]:
    """The events of a trace file, and a sentence if the last is cut off. Raises ValueError or
    OSError that names what is wrong."""
    lines = path.read_bytes().splitlines()
    events: list[Event] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            events.append(_event(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            if number == len(lines) and events:
                return events, f"line {number}, the last one, is cut off; the rest is shown"
            if number == len(lines) and _HEAD.startswith(line[: len(_HEAD)]):
                raise ValueError(f"{path}:{number}: {_NO_PLAN}") from None
            shown = line[:60].decode(errors="replace")
            problem = f"{path}:{number}: not an event of a trace: {shown!r}"
            raise ValueError(problem) from None
    return events, ""


def _event(fields: dict[str, Any]) -> Event:
    return Event(
        t=float(fields.pop("t")),
        kind=fields.pop("kind"),
        query=str(fields.pop("query")),
        node=str(fields.pop("node", "")),
        op=str(fields.pop("op", "")),
        fields=fields,
    )


def _traces(events: Iterable[Event]) -> Iterator[Trace]:
    builders: dict[str, TraceBuilder] = {}
    for event in events:
        if event.kind == "query" and event.query in builders:  # another process's, appended
            yield builders.pop(event.query).trace()
        builder = builders.setdefault(event.query, TraceBuilder())
        builder(event)
    yield from (builder.trace() for builder in builders.values() if builder.has_begun)
