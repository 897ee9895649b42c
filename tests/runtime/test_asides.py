"""Requests that no node waits for: told of, and stopped in time."""

from backends.base import Request, Result
from graph_opt.graph import Node
from runtime.asides import Asides
from runtime.hints import Hint
from runtime.job import Job


class Waiting:
    """A scheduler whose jobs wait."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.cancelled: list[str] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def cancel(self, job: Job) -> None:
        self.cancelled.append(job.request.id)


class Told:
    """Keeps what a query would tell."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def tell(self, kind: str, node: str, *_: object) -> None:
        self.events.append((kind, node))

    def tell_end(self, path: str, *_: object) -> None:
        self.events.append(("end", path))


class Handle:
    num_tokens = 3
    released = False

    def release(self) -> None:
        self.released = True


def asides(*served: str) -> tuple[Asides, Waiting, list[tuple[str, str]]]:
    """With a request ahead of each of these nodes of the scope `m[0].`."""
    told, scheduler = Told(), Waiting()
    found = Asides("q", told)  # type: ignore[arg-type]
    for name in served:
        node = Node((f"{name}.ahead",), "encode", attrs={"ahead_of": name})
        request = Request(name, "encode", (), {})
        found.submit("m", scheduler, request, Hint(0, 0.0), "m[0].", node)  # type: ignore[arg-type]
    return found, scheduler, told.events


def test_what_is_ahead_of_a_node_stops_when_that_comes() -> None:
    found, scheduler, events = asides("a", "b")
    found.end_of("a")  # of another scope
    assert scheduler.cancelled == []
    found.end_of("m[0].a")
    assert scheduler.cancelled == ["a"]
    assert events == [
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
    assert [kind for kind, _ in events] == ["ready", "end"]
