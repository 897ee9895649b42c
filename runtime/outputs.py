"""The receivers of a query's outputs before it ends."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backends.base import Context
from runtime.errors import QueryError


@dataclass(frozen=True, slots=True)
class Outputs:
    """Callbacks by the names that the graph returns, called on the engines' event loop.

    A context given to `on_value` belongs to who gets it. With `on_error`, which gets the error of
    each value that will not come, the values fail one by one (`separate_values.py`), and the first
    error in program order is raised at the end of all. Effects do not happen after what
    `failed_before` the query, but do after failures that the caller has `seen`.
    """

    on_value: Callable[[str, Any], None]
    on_error: Callable[[str, QueryError], None] | None = None
    on_effect_error: Callable[[QueryError], None] | None = None  # at the end, in program order
    on_text: Callable[[str, str], None] | None = None  # each new piece of a text that is decoded
    failed_before: QueryError | None = None
    seen: Sequence[Exception] = ()
    final: Collection[str] = ()  # of whose texts the events are `final`
    place: str = ""  # of the query among those of its app's run
    waiting: Sequence[Context] = ()  # of the caller, which the query does not read

    def renamed(self, names: Sequence[str], planned: Sequence[str]) -> "Outputs":
        """The same for a plan that returns these values, in this order, under other names."""
        if tuple(names) == tuple(planned):
            return self
        known: dict[str, list[str]] = {}
        for name, other in zip(names, planned, strict=True):
            known.setdefault(other, []).append(name)
        final = {other for other, own in known.items() if not set(own).isdisjoint(self.final)}
        return replace(
            self,
            on_value=_for_each(known, self.on_value),
            on_error=None if self.on_error is None else _for_each(known, self.on_error),
            on_text=None if self.on_text is None else _for_each(known, self.on_text),
            final=final,
        )


def _for_each(
    known: Mapping[str, Sequence[str]], tell: Callable[[str, Any], None]
) -> Callable[[str, Any], None]:
    def tell_each(name: str, what: Any) -> None:
        for own in known[name]:
            tell(own, what)

    return tell_each
