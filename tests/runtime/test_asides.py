"""Requests that no node waits for: told of, and stopped in time."""

from typing import Any

from backends.base import Request, Result
from graph_opt.graph import Node
from runtime.asides import Asides
from runtime.events import Event
from runtime.hints import Hint
from runtime.job import Job
from runtime.telling import Teller


class Waiting:
    """A scheduler whose jobs wait."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.cancelled: list[str] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def cancel(self, job: Job) -> None:
        self.cancelled.append(job.request.id)


class Handle:
    num_tokens = 3
    released = False

    def release(self) -> None:
        self.released = True


def asides(*served: str) -> tuple[Asides, Waiting, list[Event]]:
    """With a request ahead of each of these nodes of the scope `m[0].`."""
    events: list[Event] = []
    found = Asides("q", Teller("q", events.append, lambda _: None))
    scheduler: Any = Waiting()
    for name in served:
        node = Node((f"{name}.ahead",), "encode", attrs={"ahead_of": name})
        request = Request(name, "encode", (), {})
        found.submit("m", scheduler, request, Hint(0, 0.0), "m[0].", node)
    return found, scheduler, events


def test_what_is_ahead_of_a_node_stops_when_that_comes() -> None:
    found, scheduler, events = asides("a", "b")
    found.end_of("a")  # of another scope
    assert scheduler.cancelled == []
    found.end_of("m[0].a")
    assert scheduler.cancelled == ["a"]
    assert [(e.kind, e.node) for e in events] == [
        ("ready", "m[0].a.ahead"),
        ("ready", "m[0].b.ahead"),
        ("end", "m[0].a.ahead"),
    ]


def test_the_rest_stops_with_the_query() -> None:
    found, scheduler, _ = asides("a", "b")
    scheduler.jobs[0].on_done(Result((1,)))
    found.end()
    found.end()
    assert scheduler.cancelled == ["b"]


def test_what_it_made_is_released_also_when_it_comes_late() -> None:
    found, scheduler, events = asides("a")
    found.end()
    handle = Handle()
    scheduler.jobs[0].on_done(Result((handle,)))
    assert handle.released
    assert [event.kind for event in events] == ["ready", "end"]
