"""From words of a command line to the values of an app's parameters."""

import collections.abc
import enum
import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, is_typeddict

from pydantic import BaseModel, TypeAdapter, ValidationError

_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable)


@dataclass(frozen=True, slots=True)
class Reader:
    """How one parameter is read. `read` raises ValueError that says what it is not."""

    read: Callable[[str], Any]
    label: str  # the type, for people
    is_list: bool = False  # takes many words, each of them read
    is_flag: bool = False


def reader_of(type_: Any) -> Reader:
    """The reader for a parameter's type."""
    type_ = _without_none(type_)
    origin = get_origin(type_) or type_
    if type_ is bool:
        return Reader(_read_bool, "flag", is_flag=True)
    if origin in _LISTS:
        item = reader_of(next(iter(get_args(type_)), str))
        return Reader(item.read, item.label, is_list=True)
    if type_ is str or type_ is Any:
        return Reader(_read_text, "text")
    if origin is Literal:
        return _choice_reader({str(value): value for value in get_args(type_)})
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        return _choice_reader({str(member.value): member for member in type_})
    return _typed_reader(type_)


def _without_none(type_: Any) -> Any:
    if get_origin(type_) not in (Union, types.UnionType):
        return type_
    rest = tuple(arg for arg in get_args(type_) if arg is not types.NoneType)
    return Union[rest]  # noqa: UP007  (made at run time)


def _read_text(word: str) -> str:
    return sys.stdin.read() if word == "-" else word


def _read_bool(word: str) -> bool:
    value: bool = TypeAdapter(bool).validate_python(word)
    return value


def _choice_reader(choices: dict[str, Any]) -> Reader:
    def read(word: str) -> Any:
        if word not in choices:
            raise ValueError(f"{word!r} is none of {', '.join(choices)}")
        return choices[word]

    return Reader(read, "|".join(choices))


def _typed_reader(type_: Any) -> Reader:
    adapter = TypeAdapter(type_)
    is_json = _is_json(type_)
    label = _type_label(type_)

    def read(word: str) -> Any:
        text = Path(word[1:]).read_text(encoding="utf-8") if is_json and word[:1] == "@" else word
        try:
            return adapter.validate_json(text) if is_json else adapter.validate_strings(text)
        except ValidationError as error:
            raise ValueError(f"{_shown(word)} is no {label}: {_reason(error)}") from None

    return Reader(read, f"{label} as JSON or @file.json" if is_json else label)


def _is_json(type_: Any) -> bool:
    origin = get_origin(type_) or type_
    if origin in (Union, types.UnionType):
        return any(map(_is_json, get_args(type_)))
    if is_dataclass(origin) or is_typeddict(origin):
        return True
    return isinstance(origin, type) and issubclass(origin, (BaseModel, collections.abc.Mapping))


def _type_label(type_: Any) -> str:
    if isinstance(type_, type) and get_origin(type_) is None:
        return type_.__name__
    return str(type_).replace("typing.", "")


def _shown(word: str) -> str:
    return repr(word if len(word) <= 60 else word[:57] + "...")


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def default_text(value: Any) -> str:
    """A default as one would type it."""
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    return value if isinstance(value, str) and value else json.dumps(value, default=str)
