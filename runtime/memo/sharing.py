"""Which results may be shared: immutable values, and copies of flat mutable ones.

Lists and the metadata of documents are copied at each hit, so that a tool that sorts its argument
changes its own copy alone; an array is made read-only. What may be changed deeper down is not
remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from enum import Enum
from typing import Any

import numpy as np

from backends.documents import Doc

OVERHEAD_BYTES = 100  # of a Python object, about

_SCALARS = (bool, int, float, type(None))


def size_of(value: Any, is_copied: bool = True) -> int | None:
    """About how many bytes the value holds; None where it cannot be shared.

    `is_copied`: `shared` copies what holds the value, and so may copy it too.
    """
    kind = type(value)
    if kind in (str, bytes):
        return OVERHEAD_BYTES + len(value)
    if kind in _SCALARS or isinstance(value, Enum):
        return OVERHEAD_BYTES
    if kind is tuple:
        return _sum(value, is_copied)
    if isinstance(value, tuple) or _is_frozen(value):  # `shared` makes no new one of a user's class
        return _sum(_parts(value), is_copied=False)
    if not is_copied:
        return None
    if kind is np.ndarray:
        return None if value.dtype.hasobject else OVERHEAD_BYTES + value.nbytes
    if kind is Doc:
        return _size_of_doc(value)
    return _sum(value, is_copied) if kind is list else None


def _size_of_doc(doc: Doc) -> int | None:
    if type(doc.metadata) is not dict:
        return None
    return _sum((doc.text, doc.id, *doc.metadata.keys(), *doc.metadata.values()), is_copied=True)


def _sum(values: Iterable[Any], is_copied: bool) -> int | None:
    total = OVERHEAD_BYTES
    for value in values:
        size = size_of(value, is_copied)
        if size is None:
            return None
        total += size
    return total


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, tuple):
        return value
    return [getattr(value, field.name) for field in fields(value)]


def _is_frozen(value: Any) -> bool:
    parameters = getattr(type(value), "__dataclass_params__", None)
    is_frozen = parameters is not None and parameters.frozen and type(value) is not Doc
    return is_frozen and getattr(value, "__dict__", {}).keys() <= {f.name for f in fields(value)}


def shared(value: Any) -> Any:
    """The value as one more holder gets it."""
    if type(value) is list:
        return [shared(item) for item in value]
    if type(value) is tuple:
        return tuple(shared(item) for item in value)
    if type(value) is Doc and value.metadata:
        metadata = {key: shared(item) for key, item in value.metadata.items()}
        return Doc(value.text, value.id, value.score, metadata)
    if type(value) is np.ndarray and (value.flags.writeable or value.base is not None):
        value = value.copy()
        value.flags.writeable = False
    return value
