"""Arrays and scalars of numpy as what JSON has, and back.

A type is said by its name, one with named fields by their list, as in files of numpy. Raises
TypeError for what does not come back as it was.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np


def plain_array(value: np.ndarray[Any, Any]) -> Sequence[Any]:
    data = np.ascontiguousarray(value).tobytes()
    return _said(value.dtype), list(value.shape), b64encode(data).decode()


def rich_array(said: Any, shape: Sequence[int], data: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(b64decode(data), _type_of(said)).reshape(shape).copy()


def plain_scalar(value: np.generic) -> list[Any]:
    if isinstance(value, np.str_):  # an array of it loses zeros at the end
        return ["np.str_", str.__str__(value)]
    if isinstance(value, np.bytes_):
        return ["np.bytes_", b64encode(bytes(value)).decode()]
    return ["scalar", _said(value.dtype), b64encode(value.tobytes()).decode()]


def rich_scalar(said: Any, data: str) -> Any:
    return np.frombuffer(b64decode(data), _type_of(said)).copy()[0]


def _said(kind: np.dtype[Any]) -> Any:
    if kind.hasobject:
        raise TypeError("an array of objects is not kept")
    said = (np.lib.format.dtype_to_descr(kind),) if kind.names else (kind.str, kind.name)
    for each in said:  # the second for types of other packages
        if _type_of(each) == kind:
            return each
    raise TypeError(f"an array of {kind} is not kept")


def _type_of(said: Any) -> np.dtype[Any]:
    kind: np.dtype[Any] = np.lib.format.descr_to_dtype(_fields_of(said))
    return kind


def _fields_of(said: Any) -> Any:
    """The list of fields with the tuples that JSON took for lists."""
    if isinstance(said, str):
        return said
    return [
        (tuple(name) if isinstance(name, list) else name, _fields_of(kind), *map(tuple, shape))
        for name, kind, *shape in said
    ]
