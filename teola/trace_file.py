"""The trace file: one JSON object a line, as things happened."""

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

from frontend_dsl.program import RunOptions
from runtime.events import Event, Listener


class TraceWriter:
    """Writes the events of queries to a file. Of texts only the counts of tokens are kept, unless
    it is `with_texts`."""

    def __init__(self, path: str, *, with_texts: bool = False) -> None:
        self._path = Path(path)
        self._with_texts = with_texts

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
        if event.kind != "text" or self._with_texts:
            self._file.write(json.dumps(as_json(event), default=str, ensure_ascii=False) + "\n")


def open_trace(options: RunOptions) -> AbstractContextManager[Listener | None]:
    """The writer of a trace file, or nothing."""
    if options.trace is None:
        return nullcontext()
    return TraceWriter(options.trace, with_texts=options.trace_texts)


def as_json(event: Event) -> dict[str, Any]:
    """An event as it stands in a trace file."""
    head = {"t": round(event.t, 6), "kind": event.kind, "query": event.query}
    place = {"node": event.node, "op": event.op} if event.node else {}
    return {**head, **place, **event.fields}
