"""The user's calls of a trace as a tree: `map/search` is a call inside the call `map`."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from teola.viewer.model import Span, Trace


@dataclass(slots=True)
class Call:
    """One call of the user's program, with its own primitives and the calls inside it."""

    name: str  # its last part
    path: str
    spans: list[Span] = field(default_factory=list)
    calls: dict[str, "Call"] = field(default_factory=dict)  # by name

    def all_spans(self) -> Iterator[Span]:
        """Its own spans, then those of the calls inside it."""
        yield from self.spans
        for call in self.calls.values():
            yield from call.all_spans()


def call_tree(trace: Trace) -> Call:
    """The query itself as the root; calls in the order they first became ready."""
    root = Call(trace.app, "")
    for span in trace.spans:
        call = root
        for name in span.call.split("/"):
            path = f"{call.path}/{name}".removeprefix("/")
            call = call.calls.setdefault(name, Call(name, path))
        call.spans.append(span)
    return root
