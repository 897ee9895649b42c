"""The op `embed`: one vector a text."""

from collections.abc import Sequence, Sized
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from backends.base import Request, Result, Tokens, Usage
from backends.bert.forward_passes import Job
from backends.embedder.texts import is_one, items_of, texts_of

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


@runtime_checkable
class ReadsIds(Protocol):
    """What an encoder may offer beside the others."""

    def read_items(self, items: Sequence[str | Tokens]) -> list[Any]:
        """As `read`. Raises RequestRejected for ids that the model does not have."""

    def is_cut(self, text: Any) -> bool:
        """The model reads its beginning only."""


class EmbedRunner(Generic[Text]):
    """What the passes of an embedder compute."""

    def __init__(self, encoder: Encoder[Text]) -> None:
        self.budget_tokens = encoder.budget_tokens
        self._encoder = encoder

    def read(self, request: Request) -> Job[Text, Vector]:
        texts, cut = self._read(request)

        def finish(vectors: Sequence[Vector]) -> Result:
            output = vectors[0] if is_one(request) else self._stack(vectors)
            return Result((output,), Usage(num_items=len(texts)), cut=cut)

        return Job(request, texts, finish)

    def _read(self, request: Request) -> tuple[list[Text], tuple[int, ...]]:
        """The texts, and the places of those that are cut."""
        encoder = self._encoder
        if not isinstance(encoder, ReadsIds):
            return encoder.read(texts_of(request)), ()
        texts: list[Text] = encoder.read_items(items_of(request))
        return texts, tuple(place for place, text in enumerate(texts) if encoder.is_cut(text))

    def compute(self, texts: Sequence[Text]) -> Sequence[Vector]:
        return list(self._encoder.embed(texts))

    def _stack(self, vectors: Sequence[Vector]) -> Vector:
        empty = np.zeros((0, self._encoder.hidden_size), np.float32)
        return np.stack(vectors) if vectors else empty
