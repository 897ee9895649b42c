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
from enum import Enum
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

import numpy as np
from pydantic import BaseModel

from backends.base import Chunk
from backends.documents import Doc, Index
from runtime.chunked_text import ChunkedText
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


def said_by(error: BaseException) -> str:
    """Its type and text; the type alone where its class cannot say more."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


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
    if isinstance(value, Enum):
        return ["enum", class_path(kind), value.name]
    if isinstance(value, BaseModel):
        if value.__pydantic_private__:
            raise NotStorable(f"a {kind.__qualname__} with private attributes is not kept")
        given = {**dict(value), **(value.__pydantic_extra__ or {})}
        return ["model", class_path(kind), _plain_dict(given), sorted(value.model_fields_set)]
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return ["scalar", value.dtype.str, _text_of(value.tobytes())]
    if isinstance(value, PurePath):
        return ["path", str(value)]
    if isinstance(value, tuple) and hasattr(kind, "_make"):
        return ["named", class_path(kind), *map(_plain, value)]
    if isinstance(value, BaseException):
        return ["error", class_path(kind), _plain(given_to(value)), _plain_dict(state_of(value))]
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        return ["dataclass", class_path(kind), _plain_dict({**own, **state_of(value)})]
    raise NotStorable(f"a {kind.__module__}.{kind.__qualname__} is not kept")


def state_of(value: Any) -> dict[str, Any]:
    """The fields of an object that its class did not take from what made it."""
    state = getattr(value, "__dict__", {})
    state = {key: item for key, item in state.items() if not key.startswith("__")}
    if isinstance(value, (ImportError, NameError, AttributeError)):
        state |= {key: getattr(value, key) for key in ("name", "path") if hasattr(value, key)}
    return state


def given_to(error: BaseException) -> tuple[Any, ...]:
    """What the built-in class behind an exception is made of again: a file's name too."""
    given: tuple[Any, ...] = _built_in(type(error)).__reduce__(error)[1]  # type: ignore[assignment]
    return given


def _built_in(kind: type[BaseException]) -> type[BaseException]:
    return next(each for each in kind.__mro__ if each.__module__ == "builtins")


def made_error(kind: type[BaseException], given: Sequence[Any]) -> BaseException:
    """An exception as its built-in class makes it, without running code of a user's."""
    built_in = _built_in(kind)
    error: BaseException = built_in.__new__(kind, *given)
    built_in.__init__(error, *given)
    return error


def class_path(kind: type) -> str:
    """Its module and name. Raises NotStorable for one that was made inside a function."""
    if "<" in kind.__qualname__:
        raise NotStorable(f"{kind.__qualname__} is a class of a function: nobody else can find it")
    module = main_name() if kind.__module__ == "__main__" else kind.__module__
    return f"{module}:{kind.__qualname__}"


def class_at(path: str) -> Any:
    """The class of a `class_path`. Raises NotStorable where it is not loaded."""
    module, _, name = path.partition(":")
    found: Any = sys.modules.get("__main__" if module == main_name() else module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise NotStorable(f"the class {path} is not there any more")
    return found


def _plain_array(value: np.ndarray[Any, Any]) -> Sequence[Any]:
    if value.dtype.hasobject:
        raise NotStorable("an array of objects is not kept")
    return value.dtype.str, list(value.shape), _text_of(np.ascontiguousarray(value).tobytes())


def _plain_set(value: set[Any] | frozenset[Any]) -> Sequence[Any]:
    return sorted(map(_plain, value), key=json.dumps)


def _text_of(data: bytes) -> str:
    return b64encode(data).decode()


_TO_PLAIN: dict[type, Callable[[Any], Sequence[Any]]] = {
    set: _plain_set,
    frozenset: _plain_set,
    bytes: lambda value: (_text_of(value),),
    np.ndarray: _plain_array,
    Doc: lambda doc: (doc.text, doc.id, _plain(doc.score), _plain(dict(doc.metadata))),
    Index: lambda index: (index.collection, _plain(index.ids)),
    Chunk: lambda text: (str(text),),
    ChunkedText: lambda text: ([_plain(part) for part in text.parts],),
    datetime: lambda value: (value.isoformat(),),
    date: lambda value: (value.isoformat(),),
    time: lambda value: (value.isoformat(),),
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


def _rich_array(dtype: str, shape: Sequence[int], data: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(b64decode(data), np.dtype(dtype)).reshape(shape).copy()


def _rich_model(path: str, given: Any, is_set: Sequence[str]) -> Any:
    return class_at(path).model_construct(_fields_set=set(is_set), **_rich(given))


def _rich_object(path: str, state: Any) -> Any:
    kind = class_at(path)
    return _with_state(kind.__new__(kind), state)


def _rich_error(path: str, args: Any, state: Any) -> Any:
    kind = class_at(path)
    if not issubclass(kind, BaseException):
        raise NotStorable(f"{path} is no exception any more")
    return _with_state(made_error(kind, _rich(args)), state)


def _with_state(value: Any, state: Any) -> Any:
    for name, item in _rich(state).items():
        object.__setattr__(value, name, item)
    return value


_TO_RICH: dict[str, Callable[..., Any]] = {
    "list": lambda *items: [*map(_rich, items)],
    "tuple": lambda *items: tuple(map(_rich, items)),
    "dict": lambda *pairs: {_rich(key): _rich(item) for key, item in pairs},
    "set": lambda *items: set(map(_rich, items)),
    "frozenset": lambda *items: frozenset(map(_rich, items)),
    "bytes": b64decode,
    "ndarray": _rich_array,
    "scalar": lambda dtype, data: np.frombuffer(b64decode(data), np.dtype(dtype))[0],
    "Doc": lambda text, id_, score, metadata: Doc(text, id_, score, _rich(metadata)),
    "Index": lambda collection, ids: Index(collection, _rich(ids)),
    "Chunk": Chunk,
    "ChunkedText": lambda parts: ChunkedText([*map(_rich, parts)]),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": timedelta,
    "Decimal": Decimal,
    "UUID": UUID,
    "complex": complex,
    "enum": lambda path, name: class_at(path)[name],
    "model": _rich_model,
    "path": Path,
    "named": lambda path, *items: class_at(path)._make(map(_rich, items)),
    "error": _rich_error,
    "dataclass": _rich_object,
}
