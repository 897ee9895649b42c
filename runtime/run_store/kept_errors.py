"""Exceptions as bytes, and back: for failures that an app took, which it takes again.

One that cannot be kept whole (it holds a connection, its class is one of a function) comes back as
a subclass of its own class, or of the nearest base that can be found: `except` clauses take it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backends.text_secrets import without_secrets
from runtime.run_store.object_state import given_to, made_error, said_by, state_of
from runtime.run_store.values import NotStorable, class_at, class_path, decode, encode

_PARTLY = "kept in part"
_OF_CLASSES = ("error", "model", "dataclass", "enum", "flag", "named")  # followed by which one


def encode_error(error: BaseException) -> bytes:
    """The exception without keys of URLs in its texts, or as much of it as can be kept."""
    try:
        return _without_secrets(_encoded(error))
    except Exception:  # not even that, by what its class does
        return _without_secrets(encode(RuntimeError(said_by(error))))


def decode_error(data: bytes) -> Exception:
    """Raises NotStorable."""
    try:
        error = decode(data)
        if isinstance(error, dict):
            error = _remade(error[_PARTLY])
    except NotStorable:
        raise
    except Exception as failure:  # of its class
        raise NotStorable(said_by(failure)) from None
    if not isinstance(error, Exception):
        raise NotStorable("what is kept is no exception")
    return error


def _encoded(error: BaseException) -> bytes:
    try:
        data = encode(error)
        decode(data)
        return data
    except NotStorable:
        return encode({_PARTLY: _parts(error)})


def _parts(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    parts = {
        "name": kind.__name__,
        "said": _text_of(error),
        "classes": [path for path in map(_path_of, kind.__mro__) if path is not None],
        "state": {name: item for name, item in state_of(error).items() if _can_be_kept(item)},
    }
    if isinstance(error, BaseExceptionGroup):
        return {**parts, "group": [encode_error(one) for one in error.exceptions]}
    try:
        given = given_to(error)
    except Exception:  # of its class
        given = (parts["said"],)
    return {**parts, "given": given if _can_be_kept(given) else (parts["said"],)}


def _remade(parts: Mapping[str, Any]) -> BaseException:
    """Of the nearest of its classes of which one can be made: some have no subclasses, and some no
    exceptions but those that they make themselves (pydantic's ValidationError)."""
    given = parts.get("given") or (parts["said"],)
    if "group" in parts:
        given = (parts["said"], [decode_error(one) for one in parts["group"]])
    error = next(filter(None, (_made(kind, parts, given) for kind in _classes(parts))), None)
    if error is None:
        raise NotStorable("none of its classes can be made again")
    for key, item in parts["state"].items():
        object.__setattr__(error, key, item)
    return error


def _made(
    kind: type[BaseException], parts: Mapping[str, Any], given: Sequence[Any]
) -> BaseException | None:
    name, said = parts["name"], parts["said"]
    body: dict[str, Any] = {
        "__getattr__": _not_kept,
        "__module__": kind.__module__,
        "__qualname__": f"{name}.<kept in part>",
    }
    if "group" not in parts:  # which says how many it has
        body["__str__"] = lambda _: said
    try:
        return made_error(type(name, (kind,), body), given)
    except Exception:  # of its class
        return None


def _not_kept(error: BaseException, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(
        f"{name!r} of this {type(error).__name__} could not be kept when its run was written down: "
        "have the tool put what the app needs of it into its result, or into the exception as a "
        "plain value"
    )


def _classes(parts: Mapping[str, Any]) -> Iterator[type[BaseException]]:
    for path in parts["classes"]:
        try:
            kind: type[BaseException] = class_at(path)
        except NotStorable:
            continue
        if issubclass(kind, BaseException):
            yield kind


def _path_of(kind: type) -> str | None:
    try:
        path = class_path(kind)
        return path if class_at(path) is kind else None
    except NotStorable:
        return None


def _can_be_kept(value: Any) -> bool:
    try:
        decode(encode(value))
    except NotStorable:
        return False
    return True


def _text_of(error: BaseException) -> str:
    try:
        return str(error.message if isinstance(error, BaseExceptionGroup) else error)
    except Exception:
        return said_by(error)


def _without_secrets(data: bytes) -> bytes:
    kept = json.loads(data)
    if isinstance(kept, dict) and isinstance(parts := kept.get(_PARTLY), dict):
        names = {name: parts[name] for name in ("name", "classes") if name in parts}
        return json.dumps({_PARTLY: {**_masked(parts), **names}}).encode()
    return json.dumps(_masked(kept)).encode()


def _masked(value: Any) -> Any:
    """Of what `encode` gives: all but the tags of lists, and the classes behind them."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {key: _masked_item(key, item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    tag, *rest = value
    if tag == "dict":
        return [tag, *([_masked(key), _masked_item(key, item)] for key, item in rest)]
    named, rest = (rest[:1], rest[1:]) if tag in _OF_CLASSES else ([], rest)
    return [tag, *named, *map(_masked, rest)]


def _masked_item(name: Any, value: Any) -> Any:
    """`{"api_key": "sk-1"}` says as much as `api_key=sk-1`."""
    if isinstance(name, str) and isinstance(value, str):
        before = f"{name}="
        whole = without_secrets(before + value)
        return whole.removeprefix(before) if whole.startswith(before) else without_secrets(value)
    return _masked(value)
