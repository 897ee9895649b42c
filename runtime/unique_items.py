"""Items that are the same, told by their content or, of documents, by their id."""

from collections.abc import Collection, Sequence
from typing import Any

from backends.documents import Doc
from runtime.value_text import to_text


def unique_items(items: Sequence[Any], seen: Collection[str] = ()) -> list[Any]:
    """The first of items that are equal, in order, without those `seen` before."""
    first: dict[str, Any] = {}
    for item in items:
        first.setdefault(identity(item), item)
    return [item for key, item in first.items() if key not in seen]


def identity(item: Any) -> str:
    """Equal for items that are the same: of documents, those with the same id."""
    return (item.id or item.text) if isinstance(item, Doc) else to_text(item)
