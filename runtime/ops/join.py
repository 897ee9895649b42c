"""`join`: the items of a list, each in a template -> one text."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from backends.documents import Doc
from graph_opt.graph import Node
from runtime.chunked_text import chunked
from runtime.cost.sizes import Size, num_tokens
from runtime.ops.base import OpRun
from runtime.value_text import to_text


def _run(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    template = str(node.attrs.get("template", "{text}"))
    separator = str(node.attrs.get("sep", "\n"))
    items = [_Item(template, i, item) for i, item in enumerate(args[0], start=1)]
    if node.attrs.get("chunks"):
        return chunked(template, separator, [item.fill for item in items])
    return separator.join(item.fill(template) for item in items)


class _Item:
    """The fields that an item has for the template."""

    def __init__(self, template: str, i: int, item: Any) -> None:
        self._template = template
        self._known = _fields(i, item)

    def fill(self, part: str) -> str:
        """A part of the template, or all of it."""
        try:
            return part.format_map(self._known)
        except KeyError as error:
            raise LookupError(
                f"the template {self._template!r} names {{{error.args[0]}}}, which item "
                f"{self._known['i']} does not have; it has {', '.join(map(str, self._known))}"
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
