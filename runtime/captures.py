"""Values that the bodies of a node read from the graph around it.

Bodies open when the node begins. A value that is not computed by then is passed in later; only the
nodes that read it wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Late:
    """A value on its way to bodies that are open already."""

    def __init__(self) -> None:
        self.is_there = False
        self.value: Any = None
        self._tells: list[Callable[[], None]] = []

    def when_there(self, tell: Callable[[], None]) -> None:
        """Call `tell` when the value comes; it must not be there yet."""
        assert not self.is_there, "nothing waits for a value that is there"
        self._tells.append(tell)

    def arrive(self, value: Any) -> None:
        """The value is there: call the waiters in order."""
        self.is_there, self.value = True, value
        for tell in self._tells:
            tell()


def when_all_there(values: Sequence[Any], tell: Callable[[], None]) -> None:
    """Call `tell` when none of the values is late any more: at once, if none is."""
    for value in values:
        if isinstance(value, Late) and not value.is_there:
            value.when_there(lambda: when_all_there(values, tell))
            return
    tell()
