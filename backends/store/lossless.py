"""Documents in databases whose texts take no NUL and no half of a surrogate pair.

They are stored in a readable form, and beside it as ASCII JSON with what that form loses.
"""

import json
from typing import Any

from backends.documents import Doc


def readable(text: str) -> str:
    """Equal to the text, but for what no database takes."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def exact_form(doc: Doc) -> str:
    """The metadata, and of id and text what is not readable."""
    named = {"id": doc.id, "text": doc.text}
    kept: dict[str, Any] = {name: text for name, text in named.items() if readable(text) != text}
    return json.dumps({**kept, "metadata": dict(doc.metadata)})


def doc_of(doc_id: str, text: str, exact: str) -> Doc:
    """The document that was written, from its readable id and text and its exact form."""
    kept = json.loads(exact)
    return Doc(kept.get("text", text), kept.get("id", doc_id), None, kept["metadata"])
