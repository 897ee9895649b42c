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
