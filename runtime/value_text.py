"""How a value reads inside a prompt or a joined text."""

import json
from typing import Any

from pydantic import BaseModel

from backends.documents import Doc


def to_text(value: Any) -> str:
    """A text is itself, a document its text, a model or a collection its JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Doc):
        return value.text
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, default=to_text)
    return str(value)
