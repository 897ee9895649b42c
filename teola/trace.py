"""The trace file: one JSON object a line, as things happened."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from runtime.events import Event


class TraceWriter:
    """Appends the events of a query to a file; tokens are left out, only their counts are kept."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def __enter__(self) -> "TraceWriter":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __call__(self, event: Event) -> None:
        if event.kind != "text":
            self._file.write(json.dumps(as_json(event), default=str, ensure_ascii=False) + "\n")


def as_json(event: Event) -> dict[str, Any]:
    """An event as it stands in a trace file."""
    head = {"t": round(event.t, 6), "kind": event.kind, "query": event.query}
    place = {"node": event.node, "op": event.op} if event.node else {}
    return {**head, **place, **event.fields}


def read_events(path: Path) -> list[Event]:
    """The events of a trace file. Raises ValueError that names the first bad line."""
    events = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                fields = json.loads(line)
                events.append(_from_json(fields))
            except (ValueError, KeyError, AttributeError, TypeError):
                problem = f"{path}:{number}: not an event of a trace: {line[:80]!r}"
                raise ValueError(problem) from None
    if not events or events[0].kind != "query":
        raise ValueError(f"{path} does not begin with a query event; is it a trace of teola's?")
    return events


def _from_json(fields: dict[str, Any]) -> Event:
    return Event(
        t=float(fields.pop("t")),
        kind=fields.pop("kind"),
        query=fields.pop("query"),
        node=fields.pop("node", ""),
        op=fields.pop("op", ""),
        fields=fields,
    )
