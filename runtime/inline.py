"""The primitives that need no engine: small pure functions on values."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from backends.documents import Doc
from graph_opt.graph import Node
from runtime.parse import parse_text


def run_inline(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> tuple[Any, ...]:
    """The outputs of an inline node (not `input` or `map`, which the scheduler expands)."""
    return (INLINE[node.op](node, args, symbols),)


def to_text(value: Any) -> str:
    """How a value reads inside a prompt or a joined text."""
    if isinstance(value, str):
        return value
    if isinstance(value, Doc):
        return value.text
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, default=to_text)
    return str(value)


def _const(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    value = node.attrs["value"]
    return symbols[str(value)] if node.attrs.get("symbol") else value


def _context(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    return None  # the empty token state


def _parse(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:
    name = str(node.attrs["type"])
    return parse_text(args[0], name, symbols[name])


def _get(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    value = args[0]
    path = node.attrs["path"]
    assert isinstance(path, list)
    for step in path:
        if isinstance(step, int) or isinstance(value, Mapping):
            value = value[step]
        else:
            value = getattr(value, str(step))
    return value


def _join(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    template = str(node.attrs.get("template", "{text}"))
    separator = str(node.attrs.get("sep", "\n"))
    return separator.join(
        template.format_map(_fields(i, item)) for i, item in enumerate(args[0], start=1)
    )


def _fields(i: int, item: Any) -> dict[str, Any]:
    if isinstance(item, Doc):
        return {
            **item.metadata,
            "i": i,
            "text": item.text,
            "id": item.id,
            "score": item.score,
            "metadata": item.metadata,
        }
    if isinstance(item, BaseModel):
        return {**dict(item), "i": i, "text": to_text(item)}
    return {"i": i, "text": to_text(item)}


def _format(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    return "".join(to_text(arg) for arg in args)


def _flatten(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    items = [item for part in args[0] for item in part]
    return unique_items(items) if node.attrs.get("unique") else items


def _concat(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    return [item for part in args for item in part]


def unique_items(items: Sequence[Any], seen: Collection[str] = ()) -> list[Any]:
    """The first of items that are equal, in order, without those `seen` before."""
    first: dict[str, Any] = {}
    for item in items:
        first.setdefault(identity(item), item)
    return [item for key, item in first.items() if key not in seen]


def identity(item: Any) -> str:
    """Equal for items that are the same: of documents, those with the same id."""
    return (item.id or item.text) if isinstance(item, Doc) else to_text(item)


def _pack(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    keys = node.attrs.get("keys")
    return list(args) if keys is None else dict(zip(keys, args, strict=True))  # type: ignore[arg-type]


INLINE: dict[str, Callable[[Node, Sequence[Any], Mapping[str, Any]], Any]] = {
    "const": _const,
    "context": _context,
    "parse": _parse,
    "get": _get,
    "join": _join,
    "format": _format,
    "flatten": _flatten,
    "concat": _concat,
    "pack": _pack,
}
