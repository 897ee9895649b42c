"""Results as text and as JSON."""

import json
from typing import Any

from pydantic_core import to_jsonable_python


def as_text(result: Any) -> str:
    """A text as it is, any other value as JSON."""
    return result if isinstance(result, str) else json_text(result, indent=2)


def json_text(value: Any, indent: int | None = None) -> str:
    """Models, dataclasses, enums and dates become plain JSON; what JSON cannot say its text."""
    plain = to_jsonable_python(value, serialize_unknown=True)
    return json.dumps(plain, indent=indent, ensure_ascii=False)
