"""What a client of a run is told of its events."""

import json
from types import SimpleNamespace
from typing import Any

from runtime.events import Event
from teola.app_serving.run_events import EventFrames


def test_a_client_is_not_told_what_the_queries_of_others_run() -> None:
    frames = EventFrames(SimpleNamespace(shows_errors=False))  # type: ignore[arg-type]
    behind = [{"at": "q1.secret", "s": 0.1, "why": "slot", "batch_size": 1}]
    fields: dict[str, Any] = {"batch": 1, "behind": behind, "num_more": 1, "more_s": 0.1}
    start = frames.of(Event(0.0, "start", "q2", "a", "call", fields))
    end = frames.of(Event(0.0, "end", "q2", "a", "call", {"served": {"preempted_by": "q1"}}))
    assert json.loads(start.partition(b":")[2])["fields"] == {"batch": 1}
    assert json.loads(end.partition(b":")[2])["fields"] == {}
