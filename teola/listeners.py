"""Who hears the events of a run: the caller's listener, the trace file and the spans."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from frontend_dsl.program import RunOptions
from runtime.events import Event, Listener
from teola.trace_file import open_trace


def tell_all(*listeners: Listener | None) -> Listener | None:
    """One listener for those there are, in this order; None if there is none."""
    heard = [listener for listener in listeners if listener is not None]
    if not heard:
        return None

    def tell(event: Event) -> None:
        for listener in heard:
            listener(event)

    return tell


@contextmanager
def listening(options: RunOptions, spans: Listener | None = None) -> Iterator[RunOptions]:
    """The options with their trace file, if any, open for several queries."""
    with open_trace(options) as writer:
        listener = tell_all(options.listener, writer, spans)
        yield replace(options, trace=None, listener=listener)
