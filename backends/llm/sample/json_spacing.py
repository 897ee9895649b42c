"""How JSON is spaced where a schema holds the model to it: here, and at servers that use
llguidance too, which reads it from the schema."""

from collections.abc import Mapping
from typing import Any

# No free whitespace: small models would loop on it. The separators are those of json.dumps.
JSON_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def with_spacing(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema for a server. Grammars of another kind ignore the added key."""
    return {**schema, "x-guidance": JSON_SPACING}
