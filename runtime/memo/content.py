"""Content digests of values: equal for equal values, in every process; but for values of users'
classes, which no other process is sure to define alike.

A value without a known content (an open file, an object of a user's class) has no digest, and the
work that reads it is not remembered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from itertools import count
from pathlib import PurePath
from typing import Any, Protocol
from uuid import uuid4
from weakref import WeakKeyDictionary

import numpy as np
from pydantic import BaseModel

from backends.base import Chunk, Tokens, Turn
from backends.documents import Doc, Index
from runtime.chunked_text import ChunkedText

DIGEST_BYTES = 20
STABLE_MODULES = ("backends.", "frontend_dsl.")  # what they define is the same in every process
_PROCESS = uuid4().hex
_numbers = count(1)
_versions: WeakKeyDictionary[type, str] = WeakKeyDictionary()


class NoContent(TypeError):
    """A value has no content digest."""


class Hash(Protocol):
    """What a digest is fed into."""

    def update(self, data: bytes, /) -> None: ...


def digest(*values: Any) -> bytes:
    """The digest of the values in order. Raises NoContent, whatever a value's class raises."""
    found = hashlib.blake2b(digest_size=DIGEST_BYTES)
    try:
        for value in values:
            _feed(found, value)
    except NoContent:
        raise
    except Exception as error:  # it holds itself, has an unset field, too many digits
        raise NoContent("a value has no content digest: it cannot be looked through") from error
    return found.digest()


def _feed(to: Hash, value: Any) -> None:
    feed = _FEEDS.get(type(value))
    if feed is not None:
        feed(to, value)
    elif isinstance(value, Enum):
        _feed_parts(to, type(value), (value.name,))
    elif isinstance(value, BaseModel):
        is_set = [name in value.model_fields_set for name in type(value).model_fields]
        _feed_parts(to, type(value), (dict(value), is_set, value.__pydantic_private__))
    elif isinstance(value, PurePath):
        _feed_text(to, f"{type(value).__name__} {value}")
    elif is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        _feed_parts(to, type(value), ({**parts, **getattr(value, "__dict__", {})},))
    else:
        raise NoContent(f"{type(value).__qualname__} has no content digest")


def _feed_parts(to: Hash, type_: type, parts: Sequence[Any]) -> None:
    _feed_text(to, f"{type_.__module__}.{type_.__qualname__} {_version(type_)}")
    _feed_list(to, parts)


def _version(type_: type) -> str:
    """A user's class may be defined again under its name, with other methods."""
    if type_.__module__.startswith(STABLE_MODULES):
        return ""
    return _versions.setdefault(type_, f"{_PROCESS} {next(_numbers)}")


def _feed_text(to: Hash, value: str) -> None:
    data = value.encode("utf-8", "surrogatepass")
    to.update(b"s%d:" % len(data))
    to.update(data)


def _feed_bytes(to: Hash, value: bytes) -> None:
    to.update(b"b%d:" % len(value))
    to.update(value)


def _feed_scalar(to: Hash, value: object) -> None:
    to.update(f"{type(value).__name__}={value!r};".encode())


def _feed_list(to: Hash, value: Sequence[Any]) -> None:
    to.update(b"%s%d[" % (type(value).__name__.encode(), len(value)))
    for item in value:
        _feed(to, item)


def _feed_dict(to: Hash, value: Mapping[Any, Any]) -> None:
    to.update(b"d%d{" % len(value))
    for key, item in value.items():  # in order: it is a part of what a dict says
        _feed(to, key)
        _feed(to, item)


def _feed_array(to: Hash, value: np.ndarray[Any, Any]) -> None:
    if value.dtype.hasobject:
        raise NoContent("an array of objects has no content digest")
    _feed_text(to, f"{value.dtype.str}{value.shape}")
    to.update(np.ascontiguousarray(value).tobytes())


def _feed_doc(to: Hash, value: Doc) -> None:
    to.update(b"doc")
    _feed_text(to, value.text)
    _feed_text(to, value.id)
    _feed_scalar(to, value.score)
    _feed_dict(to, value.metadata)


def _feed_index(to: Hash, value: Index) -> None:
    to.update(b"index")
    _feed_text(to, value.collection)
    _feed(to, value.ids)


def _feed_turn(to: Hash, value: Turn) -> None:
    to.update(b"turn")
    _feed_text(to, value.role)


def _feed_tokens(to: Hash, value: Tokens) -> None:
    to.update(b"tokens")
    _feed_scalar(to, value.ids)


_FEEDS: dict[type, Callable[[Hash, Any], None]] = {
    str: _feed_text,
    Chunk: _feed_text,
    ChunkedText: _feed_text,
    bytes: _feed_bytes,
    type(None): _feed_scalar,
    bool: _feed_scalar,
    int: _feed_scalar,
    float: _feed_scalar,
    list: _feed_list,
    tuple: _feed_list,
    dict: _feed_dict,
    np.ndarray: _feed_array,
    np.float32: _feed_scalar,
    Doc: _feed_doc,
    Index: _feed_index,
    Turn: _feed_turn,
    Tokens: _feed_tokens,
}
