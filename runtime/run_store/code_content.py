"""What a function is and what its code reads, as plain values that are the same in every process.

The memo tells functions apart by the objects that they read (`runtime/memo/functions.py`), which
says nothing in another process. Here it is what those objects hold: defaults, closures, globals
that the code names, and what the functions behind them read. Of a class that is all its methods:
nobody knows which of them others call, and by what name.
"""

from __future__ import annotations

import re
import sys
import typing
from abc import ABC
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from logging import Logger
from threading import Lock, RLock
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GenericAlias,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    SimpleNamespace,
    UnionType,
    WrapperDescriptorType,
)
from typing import Any, Generic, Protocol

from backends.tools.code_reads import MISSING, contents_of, is_users, names_in, own_variables
from runtime.memo.functions import JOURNALS, added_to
from runtime.run_store.values import NotStorable, encode

MOST_VALUES = 5000  # that are looked through for one function
MOST_BYTES = 64 * 2**20  # of an array that it reads
_SEQUENCES = (list, tuple, deque)
_MAPPINGS = (dict, defaultdict, OrderedDict, Counter)
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type(...))
_BASES = (object, ABC, Generic, Protocol)  # classes of libraries that hold nothing of an object
_MAKING = {"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__", "__del__"}
_NO_CODE = (lambda: None).__code__
_Named = namedtuple("_Named", "first")  # for the class of its fields
_BY_NAME: dict[type, Callable[[Any], Sequence[Any]]] = {
    re.Pattern: lambda value: (value.pattern, value.flags),
    Logger: lambda value: (value.name,),
    object: lambda _: (),  # a mark
    bytearray: lambda value: (bytes(value),),
    type(Lock()): lambda _: (),
    type(RLock()): lambda _: (),
    type(_Named.first): lambda value: value.__reduce__(),
}


def code_content(function: Any) -> bytes:
    """Equal for functions that do the same. Raises NotStorable where that cannot be told."""
    try:
        return encode(_Told().whole(function))
    except NotStorable:
        raise
    except Exception as error:  # of a user's class
        raise NotStorable("it is not known what the function reads") from error


def code_of(code: CodeType) -> list[Any]:
    """The code, without its place in a file."""
    return [
        [code.co_code, code.co_exceptiontable, code.co_flags, code.co_names],
        [code.co_varnames, code.co_freevars, code.co_cellvars],
        [_constant(value) for value in code.co_consts],
    ]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return code_of(value)
    if isinstance(value, tuple):
        return [*map(_constant, value)]
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    return repr(value)


class _Told:
    """The values behind one function, each looked through once."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], int] = {}
        self._held: list[Any] = []  # what was seen: ids stay theirs
        self._journals: dict[int, Any] = {}  # lists and sets that code adds to: nothing it reads
        self._classes: dict[int, type] = {}  # of users, by id
        self._names: set[str] = set()  # that some code may load
        self._added: set[str] = set()  # names of journals

    def whole(self, function: Any) -> Any:
        """With what the classes hold that it may use."""
        told = [self.of(function, _NO_CODE)]
        done = set[tuple[int, str]]()
        while due := [each for each in self._in_classes() if each not in done]:
            done.update(due)
            told += [
                [name, self._member(vars(self._classes[id_])[name], _NO_CODE)] for id_, name in due
            ]
        return told if done else told[0]

    def _in_classes(self) -> list[tuple[int, str]]:
        """Methods, and variables that some code names."""
        return [
            (id_, name)
            for id_, class_ in self._classes.items()
            for name, value in sorted(vars(class_).items())
            if _is_method(name, value) or (name in self._names and self._is_read(name, value))
        ]

    def _is_read(self, name: str, value: Any) -> bool:
        is_journal = type(value) in JOURNALS and name in self._added
        return not is_journal and not _is_dunder(name)

    def of(self, value: Any, code: CodeType) -> Any:
        """A value that `code` reads, as far as that code can tell. Raises NotStorable."""
        kind = type(value)
        if kind in _PLAIN:
            return repr(value)
        reader = 0 if kind is FunctionType else id(code)
        number = self._seen.setdefault((id(value), reader), len(self._seen))
        if number < len(self._held):
            return ["again", number]
        self._held.append(value)
        if len(self._held) > MOST_VALUES:
            raise NotStorable("the function reads too much to look through")
        if id(value) in self._journals:
            return [kind.__name__, "a journal"]
        if kind is FunctionType:
            return self._function(value)
        if kind is MethodType:
            own = getattr(value.__func__, "__code__", code)
            return ["method", self.of(value.__func__, code), self.of(value.__self__, own)]
        if issubclass(kind, partial):
            return [kind.__name__, self._all((value.func, value.args, value.keywords), code)]
        if kind in _SEQUENCES:
            return [kind.__name__, getattr(value, "maxlen", None), self._all(value, code)]
        if kind in _MAPPINGS:
            made_by = self.of(getattr(value, "default_factory", None), code)
            return [kind.__name__, made_by, self._all([*value, *value.values()], code)]
        if issubclass(kind, (type, ModuleType)):
            return self._space(value, code)
        return self._object(value, code)

    def _all(self, values: typing.Iterable[Any], code: CodeType) -> list[Any]:
        return [self.of(value, code) for value in values]

    def _function(self, function: FunctionType) -> list[Any]:
        code = function.__code__
        if _is_found(function):
            return ["found", function.__module__, function.__qualname__]
        self._names |= names_in(code)
        self._added |= added_to(code)
        given = (function.__defaults__, function.__kwdefaults__)
        cells = [contents_of(cell) for cell in function.__closure__ or ()]
        space = function.__globals__
        self._note_journals(space, code)
        self._note_journals(dict(zip(code.co_freevars, cells, strict=True)), code)
        return [
            "function",
            code_of(code),
            self._all(given, code),
            [["unset"] if cell is MISSING else self.of(cell, code) for cell in cells],
            {name: self.of(space[name], code) for name in sorted(names_in(code) & space.keys())},
        ]

    def _space(self, space: type | ModuleType, code: CodeType) -> list[Any]:
        if not is_users(space):
            of = space.__name__ if isinstance(space, ModuleType) else _path(space)
            return ["found", of]
        names = names_in(code) & vars(space).keys()
        if isinstance(space, ModuleType):
            return ["module", self._named(vars(space), names, code)]
        self._classes[id(space)] = space
        names |= {
            name for name, value in vars(space).items() if _is_dunder(name) and _code_in(value)
        }
        read = {name: self._member(vars(space)[name], code) for name in sorted(names)}
        bases = self._all((type(space), *space.__bases__), code)
        fields = [
            [self.of(field.default_factory, code), self._all(_classes_in(field.annotation), code)]
            for field in _model_fields(space).values()
        ]
        return ["class", space.__qualname__, read, _declared(space), fields, bases]

    def _member(self, value: Any, code: CodeType) -> Any:
        if isinstance(value, (staticmethod, classmethod)):
            return self.of(value.__func__, code)
        if isinstance(value, property):
            return self._all((value.fget, value.fset, value.fdel), code)
        return "slot" if isinstance(value, MemberDescriptorType) else self.of(value, code)

    def _object(self, value: Any, code: CodeType) -> list[Any]:
        kind = type(value)
        if kind in _BY_NAME:
            return [kind.__name__, *map(repr, _BY_NAME[kind](value))]
        if kind.__module__ == "typing" or isinstance(value, (GenericAlias, UnionType)):
            return ["type", repr(value)]
        if isinstance(value, BuiltinFunctionType) and type(value.__self__) is ModuleType:
            return ["found", str(value.__module__), value.__qualname__]
        if isinstance(value, (WrapperDescriptorType, MethodDescriptorType)):
            return ["found", _path(value.__objclass__), value.__name__]
        if isinstance(value, (BuiltinFunctionType, MethodWrapperType)):
            return ["method", value.__name__, self.of(value.__self__, code)]
        if kind is SimpleNamespace:
            return ["namespace", self._named(vars(value), vars(value), code)]
        if getattr(value, "nbytes", 0) > MOST_BYTES:
            raise NotStorable("the function reads too much to look through")
        try:
            return ["value", encode(value), self._space(kind, code)]
        except NotStorable:
            own = _all_variables(value)
        if is_users(kind):
            return self._of_user(value, own, code)
        if (name := _name_of(value)) is not None:
            return ["found", kind.__module__, name]
        names = [name for name in own if name == "__wrapped__" or not _is_dunder(name)]
        if not names or not all(map(_shows_all, kind.__mro__)):
            raise NotStorable(f"nobody knows what a {kind.__qualname__} holds")
        return ["object", _path(kind), self._named(own, names, code)]

    def _of_user(self, value: Any, own: Mapping[str, Any], code: CodeType) -> list[Any]:
        told: list[Any] = []
        for space in type(value).__mro__:
            if not is_users(space):
                if space not in _BASES:
                    raise NotStorable(f"nobody knows what a {space.__qualname__} holds")
                continue
            for name in sorted(vars(space)):
                inner = _code_in(vars(space)[name])
                if inner and (name in names_in(code) or (_is_dunder(name) and name not in _MAKING)):
                    told.append([name, self.of(value, inner)])
        read = self._named(own, own, code)  # all: the code may give it to others
        return ["object", self._space(type(value), code), read, told]

    def _named(self, own: Mapping[str, Any], names: typing.Iterable[str], code: CodeType) -> Any:
        self._note_journals(own, code)
        return {name: self.of(own[name], code) for name in sorted(names)}

    def _note_journals(self, space: Mapping[str, Any], code: CodeType) -> None:
        for name in added_to(code) & space.keys():
            if type(space[name]) in JOURNALS:
                self._journals[id(space[name])] = space[name]


def _is_found(function: FunctionType) -> bool:
    """Whether it is a library's, under the name that it has."""
    found: Any = sys.modules.get(function.__module__)
    if found is None or is_users(found):
        return False
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function


def _declared(class_: type) -> Any:
    """What a class says of its fields: what they are and begin with, the values of an enum."""
    if issubclass(class_, Enum):
        return {member.name: repr(member.value) for member in class_}
    kinds = {name: repr(kind) for name, kind in vars(class_).get("__annotations__", {}).items()}
    begins = {name: repr(field) for name, field in _model_fields(class_).items() if name in kinds}
    if any(" at 0x" in text for text in (*kinds.values(), *begins.values())):
        raise NotStorable(f"the fields of {class_.__qualname__} have no name")
    return [kinds, begins]


def _model_fields(class_: type) -> Mapping[str, Any]:
    """Of a model or a dataclass of pydantic."""
    fields: Mapping[str, Any] | None = getattr(class_, "__pydantic_fields__", None)
    return fields or {}


def _classes_in(annotation: Any) -> Iterator[type]:
    """Those of users that a field is made of, as `Item` in `dict[str, list[Item]] | None`."""
    if isinstance(annotation, type):
        if is_users(annotation):
            yield annotation
        return
    for part in typing.get_args(annotation):
        yield from _classes_in(part)


def _shows_all(class_: type) -> bool:
    """Whether it keeps what it holds in variables and slots, and nothing where only C sees it."""
    return class_ in _BASES or "__dict__" in vars(class_) or "__slots__" in vars(class_)


def _all_variables(value: Any) -> dict[str, Any]:
    """Of its `__dict__` and its slots."""
    own = dict(own_variables(value))
    for space in type(value).__mro__:
        for name, slot in vars(space).items():
            if isinstance(slot, MemberDescriptorType):
                own.setdefault(name, _in_slot(value, slot))
    return own


def _in_slot(value: Any, slot: MemberDescriptorType) -> Any:
    try:
        return slot.__get__(value, type(value))
    except AttributeError:  # not yet assigned
        return None


def _name_of(value: Any) -> str | None:
    """Of what stands in the library that made its class: a ufunc, a mark for what is missing."""
    space = vars(sys.modules.get(type(value).__module__, re))
    return next((name for name, item in list(space.items()) if item is value), None)


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_method(name: str, member: Any) -> bool:
    """Whether others may call it, or it says how they do: also a class inside the class."""
    if isinstance(member, (MemberDescriptorType, GetSetDescriptorType)):
        return False
    if _is_dunder(name):
        return _code_in(member) is not None
    return hasattr(type(member), "__get__") or isinstance(member, type) or name == "model_config"


def _path(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _code_in(member: Any) -> CodeType | None:
    if isinstance(member, (staticmethod, classmethod)):
        member = member.__func__
    if isinstance(member, property):
        member = member.fget
    return member.__code__ if isinstance(member, FunctionType) else None
