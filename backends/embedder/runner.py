"""The op `embed`: one vector a text."""

from collections.abc import Sequence, Sized
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from backends.base import Request, Result, Usage
from backends.documents import Doc
from backends.errors import RequestRejected
from backends.forward_passes import Job
from backends.text_check import check_texts

Vector = NDArray[np.float32]
Text = TypeVar("Text", bound=Sized)


class Encoder(Protocol[Text]):
    """Texts to unit vectors."""

    budget_tokens: int  # of a pass

    @property
    def hidden_size(self) -> int: ...

    def read(self, texts: Sequence[str]) -> list[Text]:
        """What `embed` takes, in order."""

    def embed(self, texts: Sequence[Text]) -> Vector:
        """Unit vectors [N, H]."""


class EmbedRunner(Generic[Text]):
    """What the passes of an embedder compute."""

    def __init__(self, encoder: Encoder[Text]) -> None:
        self.budget_tokens = encoder.budget_tokens
        self._encoder = encoder

    def read(self, request: Request) -> Job[Text, Vector]:
        texts = _texts_of(request)
        is_one = isinstance(request.inputs[0], str | Doc)

        def finish(vectors: Sequence[Vector]) -> Result:
            output = vectors[0] if is_one else self._stack(vectors)
            return Result((output,), Usage(num_items=len(texts)))

        return Job(request, self._encoder.read(texts), finish)

    def compute(self, texts: Sequence[Text]) -> Sequence[Vector]:
        return list(self._encoder.embed(texts))

    def _stack(self, vectors: Sequence[Vector]) -> Vector:
        empty = np.zeros((0, self._encoder.hidden_size), np.float32)
        return np.stack(vectors) if vectors else empty


def _texts_of(request: Request) -> list[str]:
    if request.op != "embed":
        raise RequestRejected(f"an embedder runs 'embed', not {request.op!r}")
    if len(request.inputs) != 1:
        raise RequestRejected(f"'embed' takes one input, got {len(request.inputs)}")
    value = request.inputs[0]
    items: Sequence[Any] = [value] if isinstance(value, str | Doc) else value
    if not isinstance(items, list | tuple):
        raise RequestRejected(f"'embed' takes a str or a list, got {type(value).__name__}")
    for item in items:
        if not isinstance(item, str | Doc):
            raise RequestRejected(f"'embed' takes str or Doc items, got {type(item).__name__}")
    texts = [item.text if isinstance(item, Doc) else item for item in items]
    check_texts(texts)
    return texts
