"""What a run does now: its primitives that wait and run, from the events that it tells."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import Any

from runtime.events import Event
from teola.viewer.model import without_indices

MAX_SHOWN = 8  # running primitives


@dataclass(slots=True)
class _Work:
    """A primitive that has not ended."""

    query: str
    node: str
    op: str
    engine: str
    since_s: float  # it waits, or runs
    is_running: bool = False
    num_pieces: int = 0  # of text, each a token or a few


class RunProgress:
    """May be told and asked on any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[tuple[str, str], _Work] = {}  # by query and path
        self._planned: set[tuple[str, str]] = set()  # paths of plans of which none was ready yet
        self._num_ready = self._num_failed = 0

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._take(event)

    @property
    def body(self) -> dict[str, Any]:
        """What clients see. `total` grows with maps and turns, whose number no plan knows."""
        now_s = perf_counter()
        with self._lock:
            running = [work for work in self._open.values() if work.is_running]
            waiting = Counter(work.engine for work in self._open.values() if not work.is_running)
            return {
                "done": self._num_ready - len(self._open),
                "total": self._num_ready + len(self._planned),
                "failed": self._num_failed,
                "text_pieces": sum(work.num_pieces for work in running),
                "running": [_shown(work, now_s) for work in running[:MAX_SHOWN]],
                "num_running": len(running),
                "waiting": dict(waiting),
            }

    def _take(self, event: Event) -> None:
        key = (event.query, event.node)
        work = self._open.get(key)
        if event.kind == "text":
            if work is not None:
                work.num_pieces += 1
        elif event.kind == "query":
            self._planned.update((event.query, path) for path in _planned(event.fields))
        elif event.kind == "ready":
            self._planned.discard((event.query, without_indices(event.node)))
            self._num_ready += work is None
            engine = str(event.fields.get("engine", ""))
            self._open[key] = _Work(*key, event.op, engine, perf_counter())
        elif event.kind == "start" and work is not None:
            work.is_running, work.since_s = True, perf_counter()
        elif event.kind in ("end", "error") and work is not None:
            self._num_failed += event.kind == "error"
            del self._open[key]
        elif event.kind == "done":
            self._forget(event.query)

    def _forget(self, query: str) -> None:
        """A query ended: what it stopped or never began is not waited for."""
        self._planned = {path for path in self._planned if path[0] != query}
        self._open = {key: work for key, work in self._open.items() if work.query != query}


def _planned(fields: Mapping[str, Any]) -> list[str]:
    plan = fields.get("plan") or {}
    return [str(path) for path in plan.get("seconds", {})]


def _shown(work: _Work, now_s: float) -> dict[str, Any]:
    return {
        "node": work.node,
        "op": work.op,
        "engine": work.engine,
        "seconds": round(now_s - work.since_s, 4),
    }
