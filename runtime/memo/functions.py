"""Which definition of a function ran: it may be defined again, and so may what its code reads."""

from itertools import count
from typing import Any

from backends.tools.code_reads import CodeReads

MAX_KNOWN = 256


class FunctionVersions:
    """Numbers functions, anew when a variable that their code reads holds another object."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._known: dict[int, tuple[Any, int, CodeReads]] = {}  # by id, which is held

    def of(self, function: Any) -> int:
        """Equal as long as the function means the same."""
        found = self._known.get(id(function))
        if found is None or not found[2].are_current():
            self._known.pop(id(function), None)
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            found = (function, next(self._numbers), CodeReads(function))
            self._known[id(function)] = found
        return found[1]
