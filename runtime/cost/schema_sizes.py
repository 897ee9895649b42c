"""The sizes of the parts of a decoded value, as far as its JSON schema tells them."""

from collections.abc import Sequence
from dataclasses import replace

from graph_opt.graph import Json
from runtime.cost.sizes import LIST_ITEMS, UNKNOWN, Size, list_of


def size_at(size: Size, path: Json, *, is_list: bool) -> Size:
    """The part at `path`; a list where its schema says so or `is_list`."""
    schema = _at(size.schema, path if isinstance(path, list) else [])
    if not is_list and not _is_list(schema):
        return replace(size, schema=schema) if size.item is None else UNKNOWN
    items = _num_items(schema)
    return list_of(items, Size(size.total / max(1.0, items)))


def list_size_at(size: Size, path: Json) -> Size:
    """The list at `path`."""
    return size_at(size, path, is_list=True)


def _at(schema: Json, path: Sequence[Json]) -> Json:
    """The part of a JSON schema at a path of property names."""
    root = schema
    for step in path:
        inner = _followed(schema, root)
        properties = inner.get("properties") if isinstance(inner, dict) else None
        schema = properties.get(str(step)) if isinstance(properties, dict) else None
    return _followed(schema, root)


def _followed(schema: Json, root: Json) -> Json:
    if isinstance(schema, dict) and isinstance(root, dict) and "$ref" in schema:
        definitions = root.get("$defs")
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return definitions.get(name) if isinstance(definitions, dict) else None
    return schema


def _is_list(schema: Json) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "array"


def _num_items(schema: Json) -> float:
    if not isinstance(schema, dict):
        return LIST_ITEMS
    least, most = schema.get("minItems"), schema.get("maxItems")
    bounds = [float(n) for n in (least, most) if isinstance(n, (int, float))]
    return max(1.0, sum(bounds) / len(bounds)) if bounds else LIST_ITEMS
