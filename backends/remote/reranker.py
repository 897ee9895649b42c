"""Scores from a server: /v1/rerank, with the fields of Cohere and Jina."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from pydantic import Field

from backends.base import Engine, Request, Result
from backends.documents import Doc
from backends.errors import ConfigError, EngineError
from backends.options import read_options
from backends.remote.call_engine import CallEngine
from backends.remote.client import Client
from backends.remote.engine_info import info_of
from backends.remote.errors import NotFound
from backends.remote.listed_models import model_of
from backends.remote.options import RemoteOptions
from backends.remote.server_client import ServerClient
from backends.remote.together import all_of
from backends.remote.url import RemoteURL
from backends.reranker.ranking import inputs_of, ranked

_PATHS = ("/v1/rerank", "/rerank")  # older servers have the second only


class RerankerOptions(RemoteOptions):
    """How to talk to a server that ranks."""

    batch_size: int = Field(default=1000, ge=1)  # documents in one HTTP call
    max_batch_items: int = Field(default=256, ge=1)  # that the scheduler gives at once


def make(url: RemoteURL, options: Mapping[str, Any]) -> Engine:
    """The reranker at the only endpoint of `url`. Raises ConfigError for Ollama."""
    if url.scheme == "ollama":
        raise ConfigError(
            f"reranker {url.text!r}: Ollama serves no rerankers; use local:, vllm://, sglang:// "
            "or teola://"
        )
    settings = read_options(RerankerOptions, f"reranker {url.text!r}", options)
    (endpoint,) = url.endpoints
    info = info_of("reranker", url, settings, settings.max_batch_items)
    return CallEngine(info, lambda: Client(endpoint, settings), RerankCalls(url, settings))


@dataclass(frozen=True, slots=True)
class RerankJob:
    """One request: a query with its documents."""

    query: str
    docs: Sequence[Doc]
    k: int | None


class RerankCalls:
    """One call a request, several at once for more documents than `batch_size`."""

    max_items = 1  # a call has one query

    def __init__(self, url: RemoteURL, options: RerankerOptions) -> None:
        self._slots = asyncio.Semaphore(options.concurrency)  # a call's time begins with its slot
        self._batch_size = options.batch_size
        self._url = url
        self._paths: Sequence[str] = _PATHS
        self._model = ""

    async def open(self, client: ServerClient) -> None:
        self._model = await model_of(client, self._url, "reranker")

    def read(self, request: Request) -> RerankJob:
        return RerankJob(*inputs_of(request))

    def size_of(self, _job: RerankJob) -> int:
        return 1

    async def run(self, client: ServerClient, jobs: Sequence[RerankJob]) -> list[Result]:
        return [await self._rank(client, job) for job in jobs]

    async def _rank(self, client: ServerClient, job: RerankJob) -> Result:
        cuts = range(0, len(job.docs), self._batch_size)
        pieces = [job.docs[start : start + self._batch_size] for start in cuts]
        scores = await all_of(self._call(client, job.query, piece) for piece in pieces)
        return ranked(job.docs, [score for piece in scores for score in piece], job.k)

    async def _call(self, client: ServerClient, query: str, docs: Sequence[Doc]) -> list[float]:
        texts = [doc.text for doc in docs]
        body = {"model": self._model, "query": query, "documents": texts, "return_documents": False}
        async with self._slots:
            path, answer = await self._post(client, body)
        return _scores_of(answer, len(docs), f"POST {client.endpoint.url_of(path)}")

    async def _post(self, client: ServerClient, body: Mapping[str, Any]) -> tuple[str, Any]:
        """From the first path that the server has; it is kept."""
        missing: NotFound | None = None
        for path in self._paths:
            try:
                answer = await client.post(path, body, is_safe=True)
            except NotFound as error:
                missing = missing or error
            else:
                self._paths = (path,)
                return path, answer
        assert missing is not None, "there is a path to try"
        raise missing


def _scores_of(answer: Any, num: int, where: str) -> list[float]:
    """A score a document, in order, from {"results": [...]}, {"data": [...]} or SGLang's list."""
    results = answer
    if isinstance(answer, Mapping):
        results = answer.get("results", answer.get("data"))
    if not isinstance(results, list):
        raise EngineError(f"{where}: the answer holds no scores")
    scores: dict[Any, float] = {}
    for item in results:
        found = item if isinstance(item, Mapping) else {}
        score = found.get("relevance_score", found.get("score"))
        if not isinstance(score, int | float) or not isfinite(score):
            raise EngineError(f"{where}: a result has no score: {str(item)[:100]}")
        scores[found.get("index")] = float(score)
    if scores.keys() != set(range(num)):
        raise EngineError(
            f"{where}: {num} documents were sent; scores came for {list(scores)!r:.100}"
        )
    return [scores[i] for i in range(num)]
