"""Which lists of a declared type can be used item by item while a model still writes them.

An item must mean alone what it means in the whole: nothing around it may change or replace the list
after its items are read (validators of the list, of a model around it, of a field beside it that
sees the others), and nothing in it may look at what is around. pydantic's own schema of the type
says so; whatever is not known there to be harmless is read whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graph_opt.graph import Json, Node, Ref

Schema = Mapping[str, Any]

LIST_KEYS = {"type", "items_schema", "min_length", "max_length", "fail_fast", "strict"}
SILENT_KEYS = {"ref", "metadata", "serialization"}  # they change nothing that is read
OWN_FIELDS = {"model-fields", "dataclass-args", "typed-dict"}  # validators in them see these alone


@dataclass(frozen=True, slots=True)
class ElementType:
    """Where a list stands in a JSON text, and how one of its items is read."""

    keys: tuple[str, ...]  # of the objects around it, the outermost first; aliases where declared
    validator: Any  # pydantic_core.SchemaValidator

    def read(self, json: str) -> Any:
        """The item that this text is. Raises pydantic's ValidationError."""
        return self.validator.validate_json(json)


def element_type(type_: Any, path: tuple[Json, ...]) -> ElementType | None:
    """How items of the list in these fields are read alone, if they can be; the same each time."""
    try:
        hash(type_)
    except TypeError:  # Annotated with something that has no hash
        return None
    return _element_type(type_, path)


@lru_cache(maxsize=256)
def _element_type(type_: Any, path: tuple[Json, ...]) -> ElementType | None:
    from pydantic import TypeAdapter  # late: it would double teola's import time

    return _Walk(TypeAdapter(type_).core_schema).find(path)


def path_in_text(nodes: Sequence[Node], value: str) -> tuple[str, list[Json]] | None:
    """The type of the parsed text that a value is a part of, and the fields that lead to it."""
    makers = {node.name: node for node in nodes if node.op in ("get", "parse")}
    path: list[Json] = []
    while value in makers:
        node = makers[value]
        if node.op == "parse":
            return str(node.attrs["type"]), path
        steps, parent = node.attrs["path"], node.args[0]
        if not isinstance(steps, list) or not isinstance(parent, Ref):
            return None
        path, value = [*steps, *path], parent.name
    return None


class _Walk:
    """From the schema of a whole to that of a list in it."""

    def __init__(self, schema: Schema) -> None:
        self.definitions: list[Any] = []
        while schema["type"] == "definitions":
            self.definitions += schema["definitions"]
            schema = schema["schema"]
        self.schema = schema
        self.by_ref = {one["ref"]: one for one in self.definitions}

    def find(self, path: Sequence[Json]) -> ElementType | None:
        keys: list[str] = []
        schema, config = self.known(self.schema), None
        for name in path:
            key = self.key_of(schema, name)
            if key is None:
                return None
            keys.append(key)
            config = schema.get("config")
            schema = self.value_of(schema["schema"]["fields"][name]["schema"])
        if not self.is_plain_list(schema):
            return None
        return ElementType(tuple(keys), self.reader_of(schema.get("items_schema"), config))

    def known(self, schema: Schema) -> Schema:
        while schema["type"] == "definition-ref":
            schema = self.by_ref[schema["schema_ref"]]
        return schema

    def value_of(self, schema: Schema) -> Schema:
        """What stands in a text; a default only ever replaces what stands in none."""
        if schema["type"] == "default" and schema.get("on_error", "raise") == "raise":
            schema = schema["schema"]
        return self.known(schema)

    def key_of(self, model: Schema, name: Json) -> str | None:
        """The one JSON key of a field whose value nothing else in the model can touch."""
        fields = model["schema"].get("fields", {}) if self.is_plain_model(model) else {}
        if name not in fields or any(map(self.sees_others, fields.values())):
            return None
        config = model.get("config", {})
        by_name, by_alias = (
            config.get(option) for option in ("validate_by_name", "validate_by_alias")
        )
        alias = fields[name].get("validation_alias", name)
        is_clear = alias == name or (not by_name and by_alias is not False)
        return alias if is_clear and isinstance(alias, str) else None

    def is_plain_model(self, schema: Schema) -> bool:
        return (
            schema["type"] == "model"
            and schema["schema"]["type"] == "model-fields"
            and not schema.get("custom_init")
            and not schema.get("root_model")
            and "post_init" not in schema
        )

    def is_plain_list(self, schema: Schema) -> bool:
        is_list = schema["type"] == "list" and schema.keys() <= LIST_KEYS | SILENT_KEYS
        return is_list and not self.sees_others(schema)

    def sees_others(self, schema: Any, seen: frozenset[str] = frozenset()) -> bool:
        """Whether a validator is given the fields beside it: it could read and change them."""
        if isinstance(schema, (list, tuple)):
            return any(self.sees_others(one, seen) for one in schema)
        if not isinstance(schema, dict) or schema.get("type") in OWN_FIELDS:
            return False
        if schema.get("type") == "with-info" or schema.get("default_factory_takes_data"):
            return True
        ref = schema.get("schema_ref") if schema.get("type") == "definition-ref" else None
        if ref is not None:
            return ref not in seen and self.sees_others(self.by_ref[ref], seen | {ref})
        return any(
            self.sees_others(value, seen) for key, value in schema.items() if key not in SILENT_KEYS
        )

    def reader_of(self, items: Schema | None, config: Any) -> Any:
        from pydantic_core import SchemaValidator, core_schema

        schema: Any = items or core_schema.any_schema()
        if self.definitions:
            schema = core_schema.definitions_schema(schema, self.definitions)
        return SchemaValidator(schema, config)
