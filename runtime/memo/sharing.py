"""Which results may be shared: immutable values, and copies of flat mutable ones.

A list is copied at each hit, so that a tool that sorts its argument changes its own copy alone; an
array is made read-only. What may be changed deeper down is not remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np

from backends.documents import Doc

OVERHEAD_BYTES = 100  # of a Python object, about

_SCALARS = (str, bytes, bool, int, float, type(None))


def size_of(value: Any) -> int | None:
    """About how many bytes the value holds; None where it cannot be shared."""
    if isinstance(value, (str, bytes)):
        return OVERHEAD_BYTES + len(value)
    if isinstance(value, (*_SCALARS, Enum)):
        return OVERHEAD_BYTES
    if isinstance(value, np.ndarray):
        return None if value.dtype.hasobject else OVERHEAD_BYTES + value.nbytes
    if isinstance(value, Doc):
        return _sum((value.text, value.id, *_in_mapping(value.metadata)))
    if isinstance(value, (list, tuple)):
        return _sum(value)
    if is_dataclass(value) and not isinstance(value, type) and _is_frozen(type(value)):
        return _sum([getattr(value, field.name) for field in fields(value)], is_inside=True)
    return None


def _in_mapping(value: Mapping[str, Any]) -> list[Any]:
    return [*value.keys(), *value.values()]


def _sum(values: Any, is_inside: bool = False) -> int | None:
    total = OVERHEAD_BYTES
    for value in values:
        if is_inside and isinstance(value, list):  # a copy of the list outside would share it
            return None
        size = size_of(value)
        if size is None:
            return None
        total += size
    return total


def _is_frozen(type_: type) -> bool:
    parameters = getattr(type_, "__dataclass_params__", None)
    return bool(parameters is not None and parameters.frozen)


def shared(value: Any) -> Any:
    """The value as one more holder gets it."""
    if type(value) is list:
        return [shared(item) for item in value]
    if type(value) is tuple:
        return tuple(shared(item) for item in value)
    if isinstance(value, np.ndarray) and value.flags.writeable:
        value = value.copy()
        value.flags.writeable = False
    return value
