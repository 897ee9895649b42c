"""A real text that still makes a hole in a prompt."""

from typing import Any

from frontend_dsl.tracer import current


class KnownText(str):
    """A str like any other, but inside an app's f-string it stays a value of its own.

    So the prompt of an `async def` app is cut at it, and graphs that differ only in their texts
    are compiled once.
    """

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        tracer = current()
        value = None if tracer is None or spec else tracer.input_value(self)
        return str.__format__(self, spec) if value is None else format(value)

    def __str__(self) -> str:
        return str.__str__(self)


def as_known(value: Any) -> Any:
    """A text, or each text of a list, as a KnownText; anything else as it is."""
    if type(value) is str:
        return KnownText(value)
    if type(value) is list:
        return [as_known(item) for item in value]
    return value
