"""Which definition of a function ran: it may be defined again, and so may what its code reads."""

import dis
from collections import Counter, OrderedDict, defaultdict, deque
from functools import lru_cache
from itertools import count, pairwise
from operator import is_
from threading import Lock
from types import CodeType
from typing import Any

from backends.tools.code_reads import CodeReads
from runtime.memo.content import NoContent

MAX_KNOWN = 256
MOST_ITEMS = 1000  # of lists, dicts and sets that are looked through at each call
_HOLDERS = (list, dict, set, bytearray, deque, defaultdict, OrderedDict, Counter)
JOURNALS = (list, set, bytearray, deque)
_ADDING = {"append", "add", "extend"}
_LOADED_FROM_OUTSIDE = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_ATTR"}


class FunctionVersions:
    """Numbers functions, anew when a variable that their code reads holds another object, or a
    list, dict or set behind one holds other items."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._known: dict[int, tuple[Any, int, _Reads]] = {}  # by id, which is held
        self._lock = Lock()  # large inputs are looked through on threads

    def of(self, function: Any) -> int:
        """Equal as long as the function means the same. Raises NoContent for one that reads more
        than can be looked through."""
        with self._lock:
            found = self._known.get(id(function))
            if found is None or not found[2].are_current():
                self._known.pop(id(function), None)
                if len(self._known) >= MAX_KNOWN:
                    del self._known[next(iter(self._known))]
                found = (function, next(self._numbers), _Reads(function))
                self._known[id(function)] = found
        if found[2].num_items > MOST_ITEMS:
            raise NoContent("it is not known what the function reads")
        return found[1]


class _Reads(CodeReads):
    """Sees also what was changed in place; but for a list or set that the code itself adds to: that
    is a journal."""

    def __init__(self, function: Any) -> None:
        self._holders: list[tuple[Any, list[Any]]] = []
        self.num_items = 0
        super().__init__(function)

    def _visit(self, value: Any, code: CodeType) -> None:
        if type(value) in _HOLDERS and not adds_to(value, code):
            self.num_items += len(value)
            items = _items(value) if self.num_items <= MOST_ITEMS else []
            self._holders.append((value, items))
        super()._visit(value, code)

    def are_current(self) -> bool:
        if not super().are_current():
            return False
        if self.num_items > MOST_ITEMS:
            return True
        return all(_is_same(_items(value), items) for value, items in self._holders)


def adds_to(value: Any, code: CodeType) -> bool:
    """Whether a value is a list or set that the code may add to: a journal."""
    return type(value) in JOURNALS and bool(added_to(code))


@lru_cache(maxsize=1024)
def added_to(code: CodeType) -> frozenset[str]:
    """The globals, variables of closures and attributes whose `append`, `add` or `extend` the code,
    or a function inside it, calls; not its own variables."""
    steps = list(dis.get_instructions(code))
    found = {
        step.argval
        for step, then in pairwise(steps)
        if then.opname in ("LOAD_METHOD", "LOAD_ATTR")
        and then.argval in _ADDING
        and step.opname in _LOADED_FROM_OUTSIDE
    }
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= added_to(constant)
    return frozenset(found.difference(code.co_cellvars))


def _items(value: Any) -> list[Any]:
    return (
        [item for pair in value.items() for item in pair]
        if isinstance(value, dict)
        else list(value)
    )


def _is_same(now: list[Any], before: list[Any]) -> bool:
    return len(now) == len(before) and all(map(is_, now, before))
