"""Vectors from a server: /v1/embeddings, or Ollama's /api/embed."""

import asyncio
import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from backends.base import Engine, Request, Result, Usage
from backends.embedder.texts import is_one, texts_of
from backends.errors import EngineError
from backends.options import read_options
from backends.remote.call_engine import CallEngine
from backends.remote.client import Client
from backends.remote.engine_info import info_of
from backends.remote.listed_models import model_of
from backends.remote.options import RemoteOptions
from backends.remote.server_client import ServerClient
from backends.remote.together import all_of
from backends.remote.url import RemoteURL

Vectors = NDArray[np.float32]  # [N, D]

# In one HTTP call: OpenAI takes 300 000 tokens, and most are longer than a character.
MAX_CHARS = 250_000
_NO_BASE64 = ("sglang",)  # writes lists of numbers only


class EmbedderOptions(RemoteOptions):
    """How to talk to a server that embeds."""

    dimensions: int | None = Field(default=None, ge=1)  # asked of the server; None: the model's own
    batch_size: int = Field(default=256, ge=1)  # texts in one HTTP call
    max_batch_items: int = Field(default=256, ge=1)  # that the scheduler gives at once


def make(url: RemoteURL, options: Mapping[str, Any]) -> Engine:
    """The embedder at the only endpoint of `url`."""
    settings = read_options(EmbedderOptions, f"embedder {url.text!r}", options)
    (endpoint,) = url.endpoints
    info = info_of("embedder", url, settings, settings.max_batch_items)
    return CallEngine(info, lambda: Client(endpoint, settings), EmbedCalls(url, settings))


@dataclass(frozen=True, slots=True)
class EmbedJob:
    """The texts of one request."""

    texts: Sequence[str]
    is_one: bool


class EmbedCalls:
    """Texts of several requests go in one call, and long lists in several at once."""

    def __init__(self, url: RemoteURL, options: EmbedderOptions) -> None:
        self.max_items = options.batch_size
        self._slots = asyncio.Semaphore(options.concurrency)  # a call's time begins with its slot
        self._url = url
        self._asked = options.dimensions
        self._dimensions = options.dimensions  # of every vector so far
        self._model = ""

    async def open(self, client: ServerClient) -> None:
        self._model = await model_of(client, self._url, "embedder")

    def read(self, request: Request) -> EmbedJob:
        return EmbedJob(texts_of(request), is_one(request))

    def size_of(self, job: EmbedJob) -> int:
        return len(job.texts)

    async def run(self, client: ServerClient, jobs: Sequence[EmbedJob]) -> list[Result]:
        texts = [text for job in jobs for text in job.texts]
        vectors = await self._embed(client, texts)
        ends = np.cumsum([len(job.texts) for job in jobs])[:-1]
        return [
            Result((rows[0] if job.is_one else rows,), Usage(num_items=len(rows)))
            for job, rows in zip(jobs, np.split(vectors, ends), strict=True)
        ]

    async def _embed(self, client: ServerClient, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, await self._learn_dimensions(client)), np.float32)
        pieces = list(_cut(texts, self.max_items))
        if len(pieces) == 1:
            return await self._call(client, texts)
        return np.concatenate(await all_of(self._call(client, piece) for piece in pieces))

    async def _call(self, client: ServerClient, texts: Sequence[str]) -> Vectors:
        path, body = self._request_of(texts)
        async with self._slots:
            answer = await client.post(path, body, is_safe=True)
        where = f"POST {client.endpoint.url_of(path)}"
        vectors = unit_vectors(_rows_of(answer, len(texts), where), where)
        self._check_dimensions(vectors.shape[1], where)
        return vectors

    def _request_of(self, texts: Sequence[str]) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {"model": self._model, "input": texts}
        if self._asked is not None:
            body["dimensions"] = self._asked
        if self._url.scheme == "ollama":
            return "/api/embed", body
        if self._url.scheme not in _NO_BASE64:
            body["encoding_format"] = "base64"  # a third of the bytes, and nothing to parse
        return "/v1/embeddings", body

    def _check_dimensions(self, num: int, where: str) -> None:
        wanted = self._dimensions or num
        if num != wanted:
            why = "the option dimensions asks for" if self._asked else "all before had"
            raise EngineError(f"{where}: vectors of {num} dimensions came; {why} {wanted}")
        self._dimensions = wanted

    async def _learn_dimensions(self, client: ServerClient) -> int:
        """How long vectors are shows in a vector only."""
        if self._dimensions is None:
            await self._call(client, ["text"])
        assert self._dimensions is not None
        return self._dimensions


def _cut(texts: Sequence[str], max_items: int) -> Iterator[Sequence[str]]:
    """Pieces of at most so many texts and, but for a longer text alone, MAX_CHARS."""
    start, chars = 0, 0
    for end, text in enumerate(texts):
        chars += len(text)
        if end > start and (end - start == max_items or chars > MAX_CHARS):
            yield texts[start:end]
            start, chars = end, len(text)
    yield texts[start:]


def _rows_of(answer: Any, num: int, where: str) -> list[Any]:
    """One row a text, in order: `data` in any order with an index each, or Ollama's list."""
    found = answer if isinstance(answer, Mapping) else {}
    rows = found.get("embeddings")
    if isinstance(found.get("data"), list):
        cards = [card for card in found["data"] if isinstance(card, Mapping)]
        by_index = {card.get("index", i): card.get("embedding") for i, card in enumerate(cards)}
        rows = [by_index[i] for i in range(num) if i in by_index] if len(cards) == num else cards
    if not isinstance(rows, list):
        raise EngineError(f"{where}: the answer holds no embeddings")
    if len(rows) != num:
        raise EngineError(f"{where}: {num} texts were sent, and {len(rows)} embeddings came")
    return rows


def unit_vectors(rows: Sequence[Any], where: str) -> Vectors:
    """Lists of numbers, or base64 of little-endian float32, as rows of length 1."""
    try:
        vectors = np.stack([_vector_of(row) for row in rows])
    except (ValueError, TypeError, binascii.Error) as error:
        raise EngineError(
            f"{where}: the embeddings are no vectors of one length: {error}"
        ) from None
    if vectors.ndim != 2 or not vectors.shape[1] or not np.isfinite(vectors).all():
        raise EngineError(f"{where}: the embeddings are no vectors of numbers")
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        raise EngineError(f"{where}: the embeddings are no vectors of numbers but too large ones")
    unit: Vectors = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return unit


def _vector_of(row: Any) -> NDArray[np.floating[Any]]:
    if isinstance(row, str):
        return np.frombuffer(base64.b64decode(row, validate=True), "<f4")
    return np.array(row, np.float64)
