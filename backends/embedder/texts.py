"""What the op `embed` is given."""

from collections.abc import Sequence
from typing import Any

from backends.base import Request, Tokens
from backends.documents import Doc
from backends.errors import RequestRejected
from backends.text_check import check_texts


def is_one(request: Request) -> bool:
    """The request is for one vector, not for a list of them."""
    return isinstance(request.inputs[0], str | Doc)


def texts_of(request: Request) -> list[str]:
    """The texts to embed. Raises RequestRejected for anything else."""
    items = items_of(request)
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) < len(items):
        raise RequestRejected("this embedder takes texts, and no token ids")
    return texts


def items_of(request: Request) -> list[str | Tokens]:
    """The same, where token ids may stand for texts."""
    if request.op != "embed":
        raise RequestRejected(f"an embedder runs 'embed', not {request.op!r}")
    if len(request.inputs) != 1:
        raise RequestRejected(f"'embed' takes one input, got {len(request.inputs)}")
    value = request.inputs[0]
    items: Sequence[Any] = [value] if isinstance(value, str | Doc) else value
    if not isinstance(items, list | tuple):
        raise RequestRejected(f"'embed' takes a str or a list, got {type(value).__name__}")
    for item in items:
        if not isinstance(item, str | Doc | Tokens):
            raise RequestRejected(f"'embed' takes str or Doc items, got {type(item).__name__}")
    texts = [item.text if isinstance(item, Doc) else item for item in items]
    check_texts(text for text in texts if isinstance(text, str))
    return texts
