"""Events of a query: the one record that logs, traces, streams and viewers read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

EventKind = Literal[
    "query",  # begins; fields: app, agent (if it is one), optimized, began, graph (text), origins,
    # engines, plan; run: one name for all segments of a run of an `async def` app; within: of an
    # app that runs inside another query, the place there, as `q3.answers[2].research`
    "ready",  # a primitive's inputs are there; it waits at its engine
    "start",  # its batch starts; fields: engine, batch, batch_size, policy, waiting (requests that
    # stay behind), behind (what its slot ran before: runtime/waiting/slot_past.py)
    "retry",  # it failed and is tried again; fields: error, after_s
    "first_token",
    "text",  # a piece of decoded text; fields: text, final; variable, of a program
    "end",  # fields: the counts of backends.base.Usage; endpoint, of an engine with several;
    # served, as backends.served has it
    "error",
    "done",  # the query ended; fields: status, error; the last of a stream has the app's result
]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `t` in seconds on the scheduler's clock."""

    t: float
    kind: EventKind
    query: str
    node: str = ""  # path: "hits[2].search", or "" for the query itself
    op: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


class EventLog:
    """Keeps events and prints them as the text that schedule tests compare."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def batches(self) -> str:
        """One line a batch: `0.020 llm decode q1.a q2.a`, in order of start."""
        lines: dict[tuple[str, int], str] = {}
        for event in self.events:
            if event.kind != "start":
                continue
            key = (event.fields["engine"], event.fields["batch"])
            head = f"{event.t:.3f} {event.fields['engine']} {event.op}"
            lines[key] = f"{lines.get(key, head)} {event.query}.{event.node}"
        return "\n".join(lines.values())
