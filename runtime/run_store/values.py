"""Values as bytes, and back: for results that outlive the process, and for digests of content.

JSON, in which everything that JSON has not says what it is. Nothing is unpickled: a class is found
by its name among the modules that are loaded, and its objects are made without running its code.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from functools import cached_property
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID

import numpy as np
from pydantic import BaseModel

from backends.base import Chunk
from backends.documents import Doc, Index
from runtime.chunked_text import ChunkedText
from runtime.run_store.kept_arrays import plain_array, plain_scalar, rich_array, rich_scalar
from runtime.run_store.kept_dates import plain_time, rich_time
from runtime.run_store.object_state import given_to, is_all_state, made_error, said_by, state_of
from runtime.run_store.program_name import main_name

_PLAIN = (str, int, float, bool, type(None))


class NotStorable(TypeError):
    """A value cannot be kept, or a kept one cannot be made again here."""


def encode(value: Any) -> bytes:
    """The value as bytes, equal for equal values. Raises NotStorable, whatever its class raises."""
    try:
        return json.dumps(_plain(value)).encode()
    except NotStorable:
        raise
    except RecursionError:
        raise NotStorable("it holds itself, or is nested too deeply") from None
    except Exception as error:  # an unset field, a number of too many digits, code of its class
        raise NotStorable(f"it cannot be looked through: {said_by(error)}") from error


def decode(data: bytes) -> Any:
    """The value that `encode` took. Raises NotStorable for one that cannot be made again."""
    try:
        return _rich(json.loads(data))
    except NotStorable:
        raise
    except Exception as error:  # damaged, nested too deeply, or of a class that has changed
        raise NotStorable(f"what is kept cannot be read: {said_by(error)}") from error


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in (list, tuple):
        return [kind.__name__, *map(_plain, value)]
    if kind is dict:
        return _plain_dict(value)
    to_plain = _TO_PLAIN.get(kind)
    if to_plain is not None:
        return [kind.__name__, *to_plain(value)]
    return _plain_object(value)


def _plain_dict(value: Mapping[Any, Any]) -> Any:
    if all(type(key) is str for key in value):
        return {key: _plain(item) for key, item in value.items()}
    return ["dict", *([_plain(key), _plain(item)] for key, item in value.items())]


def _plain_object(value: Any) -> list[Any]:
    kind = type(value)
    if isinstance(value, Flag) and value.name not in kind.__members__:  # a combination, or none
        return ["flag", class_path(kind), value.value]
    if isinstance(value, Enum):
        return ["enum", class_path(kind), value.name]
    if isinstance(value, BaseModel):
        return ["model", *_plain_model(value)]
    if isinstance(value, np.generic):
        return plain_scalar(value)
    if isinstance(value, PurePath):
        return ["path", str(value), *([] if kind is type(Path()) else [class_path(kind)])]
    if isinstance(value, tuple) and hasattr(kind, "_make") and not state_of(value):
        return ["named", class_path(kind), *map(_plain, value)]
    if isinstance(value, BaseException):
        return ["error", class_path(kind), _plain(given_to(value)), _plain_dict(state_of(value))]
    if is_dataclass(value) and not isinstance(value, type) and is_all_state(kind):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        return ["dataclass", class_path(kind), _plain_dict({**own, **state_of(value)})]
    raise NotStorable(f"a {kind.__module__}.{kind.__qualname__} is not kept")


def _plain_model(value: BaseModel) -> Sequence[Any]:
    kind = type(value)
    fields = {name: item for name, item in value.__dict__.items() if name in kind.model_fields}
    others = [name for name in state_of(value) if name not in fields]
    if value.__pydantic_private__ or any(not _is_cached(kind, name) for name in others):
        raise NotStorable(f"a {kind.__qualname__} with private attributes is not kept")
    given = {**fields, **(value.__pydantic_extra__ or {})}
    return class_path(kind), _plain_dict(given), sorted(value.model_fields_set)


def _is_cached(kind: type, name: str) -> bool:
    return isinstance(getattr(kind, name, None), cached_property)


def class_path(kind: type) -> str:
    """Its module and name. Raises NotStorable for one that was made inside a function."""
    if "<" in kind.__qualname__:
        raise NotStorable(f"{kind.__qualname__} is a class of a function: nobody else can find it")
    module = main_name() if kind.__module__ == "__main__" else kind.__module__
    path = f"{module}:{kind.__qualname__}"
    return path if _found(path) in (kind, None) else f"{path} (of which there are two)"


def class_at(path: str) -> Any:
    """The class of a `class_path`. Raises NotStorable where it is not loaded."""
    found = _found(path)
    if not isinstance(found, type):
        raise NotStorable(f"the class {path} is not there any more")
    return found


def _found(path: str) -> Any:
    module, _, name = path.partition(":")
    name, *given = name.partition("[")
    found: Any = sys.modules.get("__main__" if module == main_name() else module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return _given_to_generic(found, "".join(given)) if given[0] else found


def _given_to_generic(kind: Any, given: str) -> Any:
    """`Page[Report]` of pydantic's `Page`; None where two reports are meant, or nobody has it."""
    found = [each for each in kind.__subclasses__() if each.__qualname__.endswith(given)]
    return found[0] if len(found) == 1 else None


def _plain_set(value: set[Any] | frozenset[Any]) -> Sequence[Any]:
    return sorted(map(_plain, value), key=json.dumps)


def _text_of(data: bytes) -> str:
    return b64encode(data).decode()


_TO_PLAIN: dict[type, Callable[[Any], Sequence[Any]]] = {
    set: _plain_set,
    frozenset: _plain_set,
    bytes: lambda value: (_text_of(value),),
    np.ndarray: plain_array,
    Doc: lambda doc: (
        _plain(doc.text),
        _plain(doc.id),
        _plain(doc.score),
        _plain(dict(doc.metadata)),
    ),
    Index: lambda index: (index.collection, _plain(index.ids)),
    Chunk: lambda text: (str(text),),
    ChunkedText: lambda text: ([_plain(part) for part in text.parts],),
    datetime: plain_time,
    date: lambda value: (value.isoformat(),),
    time: plain_time,
    timedelta: lambda value: (value.days, value.seconds, value.microseconds),
    Decimal: lambda value: (str(value),),
    UUID: lambda value: (str(value),),
    complex: lambda value: (value.real, value.imag),
}


def _rich(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rich(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    kind, *parts = value
    try:
        return _TO_RICH[kind](*parts)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise NotStorable(f"a kept {kind} cannot be made again: {said_by(error)}") from error


def _rich_model(path: str, given: Any, is_set: Sequence[str]) -> Any:
    """Without `model_construct`, which reads aliases first. A field that its class has got since
    has its default."""
    kind = class_at(path)
    if not issubclass(kind, BaseModel):
        raise NotStorable(f"{path} is no model any more")
    given = _rich(given)
    own = {name: given.pop(name) for name in kind.model_fields if name in given}
    for name, field in kind.model_fields.items():
        if name not in own and not field.is_required():
            own[name] = field.get_default(call_default_factory=True, validated_data=own)
    state = {
        "__dict__": own,
        "__pydantic_fields_set__": set(is_set),
        "__pydantic_extra__": given if kind.model_config.get("extra") == "allow" else None,
        "__pydantic_private__": {} if kind.__private_attributes__ else None,
    }
    return _with_state(object.__new__(kind), state)


def _rich_path(text: str, path: str | None = None) -> PurePath:
    kind = type(Path()) if path is None else class_at(path)
    if kind not in (type(Path()), PurePosixPath, PureWindowsPath):
        raise NotStorable(f"a {path} is not kept")
    made: PurePath = kind(text)
    return made


def _rich_object(path: str, state: Any) -> Any:
    return _with_state(object.__new__(class_at(path)), _rich(state))


def _rich_error(path: str, args: Any, state: Any) -> Any:
    kind = class_at(path)
    if not issubclass(kind, BaseException):
        raise NotStorable(f"{path} is no exception any more")
    return _with_state(made_error(kind, _rich(args)), _rich(state))


def _with_state(value: Any, state: Mapping[str, Any]) -> Any:
    for name, item in state.items():
        object.__setattr__(value, name, item)
    return value


_TO_RICH: dict[str, Callable[..., Any]] = {
    "list": lambda *items: [*map(_rich, items)],
    "tuple": lambda *items: tuple(map(_rich, items)),
    "dict": lambda *pairs: {_rich(key): _rich(item) for key, item in pairs},
    "set": lambda *items: set(map(_rich, items)),
    "frozenset": lambda *items: frozenset(map(_rich, items)),
    "bytes": b64decode,
    "ndarray": rich_array,
    "scalar": rich_scalar,
    "np.str_": np.str_,
    "np.bytes_": lambda data: np.bytes_(b64decode(data)),
    "Doc": lambda *fields: Doc(*map(_rich, fields)),
    "Index": lambda collection, ids: Index(collection, _rich(ids)),
    "Chunk": Chunk,
    "ChunkedText": lambda parts: ChunkedText([*map(_rich, parts)]),
    "datetime": lambda *said: rich_time(datetime, *said),
    "date": date.fromisoformat,
    "time": lambda *said: rich_time(time, *said),
    "timedelta": timedelta,
    "Decimal": Decimal,
    "UUID": UUID,
    "complex": complex,
    "enum": lambda path, name: class_at(path)[name],
    "flag": lambda path, value: class_at(path)(value),
    "model": _rich_model,
    "path": _rich_path,
    "named": lambda path, *items: class_at(path)._make(map(_rich, items)),
    "error": _rich_error,
    "dataclass": _rich_object,
}
