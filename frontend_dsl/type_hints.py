"""Declared types, also where annotations are texts: `from __future__ import annotations`.

A text is read with the names of its module. Names of the functions around, as those of classes
that a test defines, are gone when those return; they are noted when the decorator runs.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from types import FrameType, FunctionType
from typing import Any, get_type_hints
from weakref import WeakKeyDictionary

_NAME = re.compile(r"[^\W\d]\w*")
_noted: WeakKeyDictionary[FunctionType | type, dict[str, Any]] = WeakKeyDictionary()


def note_names(function: object) -> None:
    """Note what the names in a nested function's annotations stand for in the code around it."""
    if not isinstance(function, FunctionType) or "<locals>" not in function.__qualname__:
        return
    wanted = set(_names(function.__annotations__)) - function.__globals__.keys()
    if wanted:
        found = _names_around(function.__globals__, wanted)
        _noted[function] = {**found, **_noted.get(function, {})}
        for value in found.values():
            _note_names_of_class(value)


def hints_of(function: FunctionType, *, extras: bool = False) -> dict[str, Any]:
    """The declared types of a function. Raises NameError for one that is not known here."""
    note_names(function)
    return get_type_hints(function, None, _noted.get(function, {}), include_extras=extras)


def field_hints(type_: type, *, extras: bool = False) -> Mapping[str, Any]:
    """The declared types of a class's fields. Raises NameError as above."""
    fields = getattr(type_, "__pydantic_fields__", None)
    if fields is not None:  # pydantic knows the names around its models
        return {name: field.annotation for name, field in fields.items()}
    _note_names_of_class(type_)
    return get_type_hints(type_, None, _noted.get(type_), include_extras=extras)


def _note_names_of_class(value: Any) -> None:
    if not isinstance(value, type) or "<locals>" not in value.__qualname__ or value in _noted:
        return
    module = vars(sys.modules[value.__module__])
    annotations = [vars(each).get("__annotations__", {}) for each in value.__mro__]
    wanted = {name for each in annotations for name in _names(each)} - module.keys()
    found = _names_around(module, wanted) if wanted else {}
    if found:
        _noted[value] = {**module, **found}
        for inner in found.values():
            _note_names_of_class(inner)


def _names(annotations: Mapping[str, Any]) -> Iterator[str]:
    """Those in texts, also in texts inside of types."""
    for annotation in annotations.values():
        if not isinstance(annotation, type):
            text = annotation if isinstance(annotation, str) else repr(annotation)
            yield from _NAME.findall(text)


def _names_around(module: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
    """Their values in the calls of the module's functions that run now; inner ones go first."""
    found: dict[str, Any] = {}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and found.keys() != wanted:
        if frame.f_globals is module and frame.f_locals is not module:
            here = frame.f_locals
            found |= {name: here[name] for name in wanted - found.keys() if name in here}
        frame = frame.f_back
    return found
