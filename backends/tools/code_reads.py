"""What the code of a function may read, so that a redefined helper or global is seen.

In a notebook a cell is run again: the same name is then another object. The code is searched for
the names it may load, through the functions behind them. Objects are told apart by identity, so
what is changed in place (a list appended to) is not seen here.
"""

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from types import (
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

from backends.tools.library_code import is_library

MISSING = object()
_MOST_ITEMS = 100  # of a list or dict that is searched for functions and components
_MOST_WRAPPED = 8  # decorators around a function
_MOST_DEEP = 80  # objects that hold one another: a linked list, a tree
_OF_MODELS = ("__pydantic_private__", "__pydantic_extra__")  # slots with variables in dicts

Space = Mapping[str, Any]


class CodeReads:
    """The variables that the code behind a function may load, with what they held when made.

    Where objects hold one another too deep to be searched, it `is_cut`: nothing is known to be
    current.
    """

    parts: tuple[type, ...] = ()  # objects of these classes are searched for what they hold

    def __init__(self, function: Any) -> None:
        self._variables: dict[tuple[int, str], tuple[Space, str, Any]] = {}
        self._cells: list[tuple[CellType, Any]] = []
        self._functions: list[tuple[FunctionType, Any]] = []
        self._owners: dict[int, tuple[Any, Space]] = {}  # objects, with their `__dict__` then
        self._seen: dict[tuple[int, int], Any] = {}  # holds what it names: ids stay theirs
        self._depth = 0
        self.is_cut = False
        self._visit(function, _NO_CODE)
        if not isinstance(function, (FunctionType, MethodType, partial)):
            self._visit(function.__call__, _NO_CODE)
        self._held = list(self._variables.values())
        self._seen.clear()

    def are_current(self) -> bool:
        """Whether every variable still holds the same object."""
        if self.is_cut:
            return False
        for owner, space in self._owners.values():
            if own_variables(owner) is not space:  # a model that checks what it is assigned
                return False
        for space, name, value in self._held:
            if space.get(name, MISSING) is not value:
                return False
        if any(function.__code__ is not code for function, code in self._functions):
            return False  # a reloader gave it other code
        return all(contents_of(cell) is value for cell, value in self._cells)

    def note(self, value: Any) -> bool:  # noqa: ARG002
        """Called with each value that the code reads; whether it is searched in turn."""
        return True

    def _visit(self, value: Any, code: CodeType) -> None:
        """Search a value that `code` reads, for what that code does with it.

        Kinds are told by `type(value)`: asking a proxy for anything may run code of a user's.
        """
        kind = type(value)
        if issubclass(kind, _PLAIN) or (id(value), id(code)) in self._seen:
            return
        self._seen[id(value), id(code)] = value
        if not self.note(value):
            return
        if self._depth == _MOST_DEEP:
            self.is_cut = True
            return
        self._depth += 1
        self._visit_inside(value, kind, code)
        self._depth -= 1

    def _visit_inside(self, value: Any, kind: type, code: CodeType) -> None:
        if kind is FunctionType:
            self._visit_function(value)
        elif kind is MethodType:
            self._visit(value.__func__, code)
            self._visit(value.__self__, getattr(value.__func__, "__code__", code))
        elif issubclass(kind, (list, tuple, set, dict, partial)):
            for item in _items(value):
                self._visit(item, code)
        elif issubclass(kind, (type, ModuleType)):
            self._visit_space(value, code)
        else:
            self._visit_object(value, code)

    def _visit_function(self, function: FunctionType) -> None:
        code = function.__code__
        if is_library(code.co_filename):
            return
        self._functions.append((function, code))
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._visit(value, code)
        for name in names_in(code) & function.__globals__.keys():
            self._read(function.__globals__, name, code)
        for cell in function.__closure__ or ():
            value = contents_of(cell)
            self._cells.append((cell, value))
            self._visit(value, code)

    def _visit_space(self, space: type | ModuleType, code: CodeType) -> None:
        is_of_user = is_users(space)
        for name in names_in(code) & vars(space).keys():
            if is_of_user:
                self._read(_variables(space), name, code)
            elif isinstance(vars(space)[name], type):
                self._visit(vars(space)[name], code)

    def _visit_object(self, value: Any, code: CodeType) -> None:
        own = own_variables(value)
        if "__wrapped__" in own or issubclass(type(value), self.parts):  # a decorated function
            for inner in own.values():
                if issubclass(type(inner), (FunctionType, MethodType, partial, *self.parts)):
                    self._visit(inner, code)
        elif is_users(type(value)):
            if own_variables(value) is own:  # it has a `__dict__`
                self._owners[id(value)] = value, own
            for space in (own, *model_variables(value)):
                for name in names_in(code):
                    self._read(
                        space, name, code
                    )  # also that it is not there: the class may have it
            for class_ in type(value).__mro__:
                self._visit_space(class_, code)
                self._visit_methods(value, class_, code)

    def _visit_methods(self, value: Any, class_: type, code: CodeType) -> None:
        """What the object's other methods, prompts and properties, where `code` names them, read of
        it."""
        for name in names_in(code) & vars(class_).keys():
            found = vars(class_)[name]
            for method in _functions_of(found) if self.note(found) else ():
                self._visit(method, code)
                self._visit(value, method.__code__)

    def _read(self, space: Space, name: str, code: CodeType) -> None:
        value = space.get(name, MISSING)
        self._variables[id(space), name] = (space, name, value)
        self._visit(value, code)


def _functions_of(member: Any) -> Iterator[FunctionType]:
    """Those behind a method, a property, and what a decorator made of them: a prompt, an app."""
    for _ in range(_MOST_WRAPPED):
        if issubclass(type(member), (classmethod, staticmethod)):
            member = member.__func__
        member = member.fget if issubclass(type(member), property) else member
        if type(member) is FunctionType:
            yield member
        member = own_variables(member).get("__wrapped__")


def own_variables(value: Any) -> dict[str, Any]:
    """The `__dict__` of an object, not what a proxy says is one."""
    for class_ in type(value).__mro__:
        found = vars(class_).get("__dict__")
        if found is not None:
            return found.__get__(value) if type(found) is GetSetDescriptorType else {}
    return {}


def model_variables(value: Any) -> list[dict[str, Any]]:
    """Those of a pydantic model that are not fields: private attributes, and extra ones."""
    slots = (vars(class_).get(name) for class_ in type(value).__mro__ for name in _OF_MODELS)
    found = (slot.__get__(value) for slot in slots if type(slot) is MemberDescriptorType)
    return [each for each in found if isinstance(each, dict)]


def names_in(code: CodeType) -> set[str]:
    """Every name that the code, or a function inside it, may load."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= names_in(constant)
    return names


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, partial):
        return iter((value.func, *value.args, *value.keywords.values()))
    items = value.values() if isinstance(value, dict) else value
    return iter([*items] if len(items) <= _MOST_ITEMS else ())  # another thread may write to it


def contents_of(cell: CellType) -> Any:
    """What a variable of a closure holds; MISSING before it is assigned."""
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return MISSING


def _variables(space: Any) -> Space:
    found: dict[str, Any] | MappingProxyType[str, Any] = vars(space)
    return found


def is_users(space: type | ModuleType) -> bool:
    """Whether a module, or the one of a class, is neither teola's nor a library's."""
    module = sys.modules.get(space.__module__) if isinstance(space, type) else space
    if module is None:
        return True
    file = getattr(module, "__file__", None)
    return module.__name__ == "__main__" if file is None else not is_library(file)


_PLAIN = (str, bytes, int, float, bool, type(None))
_NO_CODE = (lambda: None).__code__
