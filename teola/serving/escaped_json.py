"""JSON answers in ASCII: a text with half of a surrogate pair, which UTF-8 has not, is one too."""

import json
from typing import Any

from starlette.responses import JSONResponse


class EscapedJSON(JSONResponse):
    """What is no ASCII is escaped, as in streams."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
