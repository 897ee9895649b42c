"""The op `embed`: all texts of all requests of a batch in one pass."""

from collections.abc import Sequence
from typing import Any

from backends.base import Outcome, Request, Result, Usage
from backends.documents import Doc
from backends.embedder.encoder import SentenceEncoder
from backends.errors import RequestRejected
from backends.text_check import check_texts


class EmbedRunner:
    """Fuses requests; a wrong one fails alone."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self._encoder = encoder

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        read = [_read(request) for request in requests]
        vectors = self._encoder.embed(
            [t for texts in read if isinstance(texts, list) for t in texts]
        )
        outcomes: list[Outcome] = []
        start = 0
        for request, texts in zip(requests, read, strict=True):
            if isinstance(texts, Exception):
                outcomes.append(texts)
                continue
            rows = vectors[start : start + len(texts)]
            start += len(texts)
            output = rows[0] if isinstance(request.inputs[0], str | Doc) else rows
            outcomes.append(Result((output,), Usage(num_items=len(texts))))
        return outcomes

    def close(self) -> None:
        """The weights go when the last engine that shares them does."""


def _read(request: Request) -> list[str] | RequestRejected:
    if request.op != "embed":
        return RequestRejected(f"an embedder runs 'embed', not {request.op!r}")
    if len(request.inputs) != 1:
        return RequestRejected(f"'embed' takes one input, got {len(request.inputs)}")
    value = request.inputs[0]
    items: Sequence[Any] = [value] if isinstance(value, str | Doc) else value
    if not isinstance(items, list | tuple):
        return RequestRejected(f"'embed' takes a str or a list, got {type(value).__name__}")
    for item in items:
        if not isinstance(item, str | Doc):
            return RequestRejected(f"'embed' takes str or Doc items, got {type(item).__name__}")
    texts = [item.text if isinstance(item, Doc) else item for item in items]
    try:
        check_texts(texts)
    except RequestRejected as error:
        return error
    return texts
