"""Which definition of a function ran: it may be defined again, and so may what its code reads."""

import dis
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import count, pairwise
from operator import is_
from threading import Lock
from types import CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

from backends.tools.code_reads import (
    CodeReads,
    is_users,
    model_variables,
    names_in,
    own_variables,
)
from backends.tools.library_code import is_library
from runtime.memo.content import NoContent

MAX_KNOWN = 256
MOST_ITEMS = 1000  # of lists, dicts and sets that are looked through at each call
MOST_VARIABLES = 5000  # that are compared at each call
_HOLDERS = (list, dict, set, bytearray, deque, defaultdict, OrderedDict, Counter)
JOURNALS = (list, set, bytearray, deque)
_ADDING = {"append", "add", "extend"}
GENERATED = "<string>"  # the file of what a dataclass has without writing it
NO_CODE = (lambda: None).__code__
_MAKING = {"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__", "__del__"}
_WHOLE = {"COMPARE_OP", "CONTAINS_OP", "FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC"} | {
    *("asdict", "astuple", "deepcopy", "format", "getattr", "hash", "model_dump"),
    *("model_dump_json", "print", "repr", "str", "vars"),
}
_NAMESPACES = {("types", "SimpleNamespace"), ("argparse", "Namespace")}
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
        try:
            found = self._current(function)
        except RuntimeError:  # another thread writes to what it reads
            raise NoContent("what the function reads changes") from None
        if found[2].is_cut or found[2].num_items > MOST_ITEMS:
            raise NoContent("it is not known what the function reads")
        return found[1]

    def _current(self, function: Any) -> "tuple[Any, int, _Reads]":
        with self._lock:
            found = self._known.get(id(function))
            if found is None or not found[2].are_current():
                self._known.pop(id(function), None)
                if len(self._known) >= MAX_KNOWN:
                    del self._known[next(iter(self._known))]
                found = (function, next(self._numbers), _Reads(function))
                self._known[id(function)] = found
            return found


class _Reads(CodeReads):
    """Sees also what was changed in place; but for a list or set that the code itself adds to: that
    is a journal."""

    def __init__(self, function: Any) -> None:
        self._holders: list[tuple[Any, list[Any]]] = []
        self.num_items = 0
        self._objects: dict[int, Any] = {}  # of users' classes, by id
        self._slots: dict[int, Mapping[str, Any]] = {}
        self._classes: dict[int, Mapping[str, Any]] = {}  # variables of users' classes, by id
        self._names: set[str] = set()  # that the code of any function may load
        self._added: set[str] = set()  # of journals
        self._uses: set[str] = set()  # what code does with objects as a whole
        super().__init__(function)
        self._read_objects()

    def _visit(self, value: Any, code: CodeType) -> None:
        self.is_cut = self.is_cut or len(self._variables) > MOST_VARIABLES
        if self.is_cut:
            return
        if issubclass(type(value), _HOLDERS) and not adds_to(value, code):
            self.num_items += _base(value).__len__(value)
            items = _items(value) if self.num_items <= MOST_ITEMS else []
            self._holders.append((value, items))
        super()._visit(value, code)
        if issubclass(type(value), _HOLDERS) and is_users(type(value)):
            self._visit_object(value, code)

    def _visit_function(self, function: FunctionType) -> None:
        super()._visit_function(function)
        code = function.__code__
        if not is_library(code.co_filename):
            self._names |= names_in(code)
            self._added |= added_to(code)
            self._uses |= uses_in(code)

    def _visit_space(self, space: type | ModuleType, code: CodeType) -> None:
        super()._visit_space(space, code)
        for class_ in space.__mro__ if isinstance(space, type) else ():
            if is_users(class_):
                self._classes.setdefault(id(class_), vars(class_))
                for name in names_in(code) & vars(class_).keys():
                    found = vars(class_)[name]
                    if isinstance(found, (staticmethod, classmethod)):
                        self._visit(found.__func__, code)

    def _visit_object(self, value: Any, code: CodeType) -> None:
        super()._visit_object(value, code)
        if id(value) in self._objects or not (is_users(type(value)) or _is_namespace(value)):
            return
        self._objects[id(value)] = value
        self._slots[id(value)] = Slots(value)
        self._visit_operators(value)

    def _visit_operators(self, value: Any) -> None:
        """Code calls them without naming them."""
        for class_ in type(value).__mro__:
            for name, found in vars(class_).items() if is_users(class_) else ():
                code = found.__code__ if isinstance(found, FunctionType) else NO_CODE
                if _is_operator(name) and code is not NO_CODE and code.co_filename != GENERATED:
                    self._visit(found, code)
                    self._visit(value, code)

    def _read_objects(self) -> None:
        """What any of the functions may read of an object: they may give it to each other."""
        before = None
        while before != (before := (len(self._variables), len(self._objects), len(self._names))):
            for value in [*self._objects.values()]:
                is_whole = self._uses and _is_compared_whole(type(value))
                variables = vars(value) if _is_namespace(value) else own_variables(value)
                for own in (variables, self._slots[id(value)], *model_variables(value)):
                    names = {*own} if is_whole else self._names.intersection(own)
                    for name in sorted(names - self._added):
                        if (id(own), name) not in self._variables:
                            self._read(own, name, NO_CODE)
            for own in [*self._classes.values()]:
                for name in sorted((self._names & own.keys()) - self._added):
                    if (id(own), name) not in self._variables:
                        self._read(own, name, NO_CODE)
        self._held = [*self._variables.values()]
        self._seen.clear()

    def are_current(self) -> bool:
        if self.is_cut:
            return True  # nothing is remembered of it
        if not super().are_current():
            return False
        if self.num_items > MOST_ITEMS:
            return True
        return all(_is_same(_items(value), items) for value, items in self._holders)


class Slots(Mapping[str, Any]):
    """The variables of an object that are in slots."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._members = {
            name: member
            for class_ in reversed(type(value).__mro__)
            for name, member in vars(class_).items()
            if isinstance(member, MemberDescriptorType) and is_users(class_)
        }

    def __getitem__(self, name: str) -> Any:
        try:
            return self._members[name].__get__(self._value)
        except AttributeError:  # not yet assigned
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


@lru_cache(maxsize=1024)
def uses_in(code: CodeType) -> frozenset[str]:
    """What the code, or a function inside it, does that may read all of a dataclass or a model."""
    inner = [uses_in(each) for each in code.co_consts if isinstance(each, CodeType)]
    steps = {step.opname for step in dis.get_instructions(code)}
    return frozenset(steps & _WHOLE).union(_WHOLE & {*code.co_names}, *inner)


def _is_operator(name: str) -> bool:
    return name.startswith("__") and name.endswith("__") and name not in _MAKING


def _is_namespace(value: Any) -> bool:
    """Of the standard library, with nothing but variables."""
    kind = type(value)
    return (kind.__module__, kind.__name__) in _NAMESPACES


def _is_compared_whole(kind: type) -> bool:
    """Whether it is compared by what it holds, which no code of a user's says."""
    equal: Any = kind.__eq__
    code = getattr(equal, "__code__", None)
    is_own = code is not None and code.co_filename != GENERATED and not is_library(code.co_filename)
    return equal is not object.__eq__ and not is_own


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
    if isinstance(value, dict):
        pairs = list(dict.items(value))  # at once: another thread may write to it
        return [item for pair in pairs for item in pair]
    return [*_base(value).__iter__(value)]


def _base(value: Any) -> Any:
    """The class that holds the items: a user's may say of itself what it likes."""
    return next(holder for holder in _HOLDERS if isinstance(value, holder))


def _is_same(now: list[Any], before: list[Any]) -> bool:
    return len(now) == len(before) and all(map(is_, now, before))
