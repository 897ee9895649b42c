"""The op `embed`: one vector a text."""

from collections.abc import Sequence, Sized
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from backends.base import Request, Result, Usage
from backends.bert.forward_passes import Job
from backends.embedder.texts import is_one, texts_of

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
        texts = texts_of(request)

        def finish(vectors: Sequence[Vector]) -> Result:
            output = vectors[0] if is_one(request) else self._stack(vectors)
            return Result((output,), Usage(num_items=len(texts)))

        return Job(request, self._encoder.read(texts), finish)

    def compute(self, texts: Sequence[Text]) -> Sequence[Vector]:
        return list(self._encoder.embed(texts))

    def _stack(self, vectors: Sequence[Vector]) -> Vector:
        empty = np.zeros((0, self._encoder.hidden_size), np.float32)
        return np.stack(vectors) if vectors else empty
