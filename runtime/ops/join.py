"""`join`: the items of a list, each in a template -> one text."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from backends.documents import Doc
from graph_opt.graph import Node
from runtime.cost.sizes import Size, num_tokens
from runtime.ops.base import OpRun
from runtime.value_text import to_text


def _run(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    template = str(node.attrs.get("template", "{text}"))
    separator = str(node.attrs.get("sep", "\n"))
    return separator.join(_filled(template, i, item) for i, item in enumerate(args[0], start=1))


def _filled(template: str, i: int, item: Any) -> str:
    known = _fields(i, item)
    try:
        return template.format_map(known)
    except KeyError as error:
        has = ", ".join(map(str, known))
        raise LookupError(
            f"the template {template!r} names {{{error.args[0]}}}, which item {i} does not have; "
            f"it has {has}"
        ) from None


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
    if is_dataclass(item) and not isinstance(item, type):
        own = {field.name: getattr(item, field.name) for field in fields(item)}
    else:
        own = dict(item) if isinstance(item, (BaseModel, Mapping)) else {}
    return {**own, "i": i, "text": to_text(item)}


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    items = args[0].as_list()
    around = num_tokens(str(node.attrs.get("template", ""))) + num_tokens(
        str(node.attrs.get("sep", "\n"))
    )
    return (Size(items.total + items.num_items * around),)


JOIN = OpRun(run=_run, size=_size)
