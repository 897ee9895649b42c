"""The span of one primitive: what its events tell of it, and how it ends."""

from dataclasses import dataclass, field

from opentelemetry.trace import Span, Status, StatusCode

from runtime.events import Event
from teola.telemetry.counts import end_attributes
from teola.telemetry.shape import Attributes, Shape

CANCELLED = "cancelled"


@dataclass(slots=True)
class PrimitiveSpan:
    """A span from the primitive's `ready` on."""

    span: Span
    shape: Shape
    kind: str  # of its engine
    epoch_s: float  # the clock of the events at 0
    ready_s: float
    start_s: float | None = None
    end_s: float | None = None
    error: str | None = None
    more: Attributes = field(default_factory=dict)

    @property
    def attributes(self) -> Attributes:
        return {**self.shape.attributes, **self.more}

    def take(self, event: Event) -> None:
        """Note what an event of the primitive tells."""
        fields = event.fields
        if event.kind == "start":
            self.start_s = event.t
            self.more["teola.batch"] = int(fields.get("batch", 0))
            self.more["teola.batch_size"] = int(fields.get("batch_size", 1))
            if "load_s" in fields:
                self.more["teola.load_s"] = float(fields["load_s"])
        elif event.kind == "first_token":
            self.more["gen_ai.response.time_to_first_chunk"] = event.t - self.ready_s
        elif event.kind == "end":
            self.end_s = event.t
            self.more |= end_attributes(self.kind, fields)
        elif event.kind == "error":
            self.end_s, self.error = event.t, str(fields.get("error", "?"))
        elif event.kind == "retry":
            kind = str(fields.get("error", "?")).partition(":")[0]
            self.span.add_event("retry", {"error.type": kind}, nanoseconds(event.t + self.epoch_s))

    def end(self, last_s: float, status: str, *, is_said: bool) -> float:
        """Hand it on, and its seconds: at its end, or where it has none, at that of its run, which
        has ended so. `is_said`: spans may hold content."""
        end_s, error = self.end_s, self.error
        if end_s is None:
            end_s = last_s
            self.more["teola.stopped"] = True
            error = None if status == "ok" else CANCELLED
        if error is not None:
            self.more["error.type"] = error.partition(":")[0]
            set_error(self.span, error, is_said=is_said)
        if self.start_s is not None:
            self.more["teola.queue_s"] = self.start_s - self.ready_s
        self.span.set_attributes(self.more)
        self.span.end(nanoseconds(end_s + self.epoch_s))
        return end_s - self.ready_s


def set_error(span: Span, error: str, *, is_said: bool) -> None:
    """Messages quote what models wrote and users asked."""
    said = error if is_said else error.partition(":")[0]
    span.set_status(Status(StatusCode.ERROR, said))


def nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
