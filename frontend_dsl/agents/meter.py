"""Hears the events of an agent's run: counts what it uses, and lets the text of a turn pass as what
the model says, not as the JSON that it says it in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, replace
from typing import Any

from backends.base import Usage, total
from frontend_dsl.agents.turn_reader import TurnReader

Listener = Callable[[Any], None]  # of runtime.events.Event

_COUNTS = tuple(field.name for field in fields(Usage))


class Meter:
    """The listener of one run. Called on the engines' loop."""

    def __init__(self, listener: Listener | None, turn: str | None, is_native: bool) -> None:
        """`turn` is the node whose text is JSON; `is_native` that the engine takes tools."""
        self.is_native = is_native
        self._listener = listener
        self._turn = turn
        self._usages: list[Usage] = []
        self._inside: set[str] = set()  # queries of agents and apps inside this run
        self._readers: dict[str, TurnReader] = {}

    @property
    def usage(self) -> Usage:
        return total(self._usages)

    @property
    def tokens(self) -> int:
        """Computed and written so far."""
        return sum(usage.prefill_tokens + usage.decode_tokens for usage in self._usages)

    def __call__(self, event: Any) -> None:
        if event.kind == "query" and "within" in event.fields:
            self._inside.add(event.query)
        if event.kind == "end":
            counted = {name: event.fields.get(name, 0) for name in _COUNTS}
            self._usages.append(Usage(**counted))
        if self._listener is None:
            return
        if event.kind == "text" and event.node == self._turn and event.query not in self._inside:
            reader = self._readers.setdefault(event.query, TurnReader())
            said, _ = reader.feed(event.fields["text"])
            if said:
                self._listener(replace(event, fields={**event.fields, "text": said}))
        else:
            self._listener(event)


_meter: ContextVar[Meter | None] = ContextVar("teola_meter", default=None)


def current_meter() -> Meter:
    """That of the agent's run around."""
    meter = _meter.get()
    assert meter is not None, "each run of an agent has one"
    return meter


@contextmanager
def metered(meter: Meter) -> Iterator[None]:
    """The run within is heard by this one."""
    token = _meter.set(meter)
    try:
        yield
    finally:
        _meter.reset(token)
