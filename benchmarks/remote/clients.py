"""The servers of a benchmark as a program without teola sees them: OpenAI's client and httpx.

Calls count what they sent, and what the servers say that it cost. `salt` keeps the KV of one run
apart from that of all others.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from openai import AsyncOpenAI

from backends.base import Engine, Request, Result
from backends.documents import Doc, Index
from backends.registry import EngineSpec, create
from backends.tool_calls.format import with_spacing
from backends.tools.load import load
from backends.tools.split import split

EMBEDDED_AT_ONCE = 64  # texts in one request


@dataclass(frozen=True)
class Servers:
    """Where each model is served: `http://host:port`, and the name of its model there."""

    llm: str
    llm_model: str
    embedder: str | None = None
    embedder_model: str = ""
    reranker: str | None = None
    reranker_model: str = ""
    is_vllm: bool = False


@dataclass
class Cost:
    """What a run asked of the servers."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    decoded_tokens: int = 0

    @property
    def prefilled_tokens(self) -> int:
        return self.prompt_tokens - self.cached_tokens


class Clients:
    """Made and used on one event loop; connections stay open from run to run."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        timeout = httpx.Timeout(600)
        self._llm = AsyncOpenAI(base_url=f"{servers.llm}/v1", api_key="none", timeout=timeout)
        self._embedder = AsyncOpenAI(
            base_url=f"{servers.embedder or servers.llm}/v1", api_key="none", timeout=timeout
        )
        self._http = httpx.AsyncClient(timeout=timeout)
        self._store: Engine = create(EngineSpec("store", "local:"))
        self._ids = iter(range(1 << 60))
        self.cost = Cost()
        self.salt = ""

    def begin(self, salt: str) -> None:
        """A new run, which shares no KV with others."""
        self.cost, self.salt = Cost(), salt

    async def write(
        self,
        system: str | None,
        prompt: str,
        schema: Mapping[str, Any] | None = None,
        **limits: Any,
    ) -> str:
        """The greedy answer to one prompt."""
        messages = [{"role": "system", "content": system}] if system is not None else []
        messages.append({"role": "user", "content": prompt})
        if schema is not None:
            spaced = with_spacing(schema) if self.servers.is_vllm else schema  # as all ways send it
            held = {"name": "answer", "schema": dict(spaced)}
            limits["response_format"] = {"type": "json_schema", "json_schema": held}
        answer = await self._llm.chat.completions.create(
            model=self.servers.llm_model,
            messages=messages,  # type: ignore[arg-type]
            temperature=0,
            extra_body={"cache_salt": self.salt},
            **limits,
        )
        usage = answer.usage
        assert usage is not None, "a server of the benchmark counts tokens"
        details = usage.prompt_tokens_details
        self.cost.requests += 1
        self.cost.prompt_tokens += usage.prompt_tokens
        self.cost.cached_tokens += (details.cached_tokens or 0) if details is not None else 0
        self.cost.decoded_tokens += usage.completion_tokens
        return answer.choices[0].message.content or ""

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N, D], in requests of a size that servers take, all at once."""
        parts = [
            texts[start : start + EMBEDDED_AT_ONCE]
            for start in range(0, len(texts), EMBEDDED_AT_ONCE)
        ]
        return np.concatenate(await asyncio.gather(*map(self._embed, parts)))

    async def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.cost.requests += 1
        answer = await self._embedder.embeddings.create(
            model=self.servers.embedder_model, input=list(texts)
        )
        rows = sorted(answer.data, key=lambda row: row.index)
        return np.array([row.embedding for row in rows], np.float32)

    async def rerank(self, query: str, docs: Sequence[Doc], k: int) -> list[Doc]:
        """The `k` best documents."""
        self.cost.requests += 1
        body = {
            "model": self.servers.reranker_model,
            "query": query,
            "documents": [doc.text for doc in docs],
            "top_n": k,
        }
        answer = await self._http.post(f"{self.servers.reranker}/v1/rerank", json=body)
        answer.raise_for_status()
        return [docs[row["index"]] for row in answer.json()["results"]]

    async def passages(self, files: Sequence[str], size: int, overlap: int) -> list[Doc]:
        """The passages of files; read beside what else runs."""

        def read() -> list[Doc]:
            return split(load(list(files)), chunk_tokens=size, overlap=overlap)

        return await asyncio.to_thread(read)

    async def index(self, docs: Sequence[Doc]) -> Index:
        """Embed and store."""
        vectors = await self.embed([doc.text for doc in docs])
        return await self._stored("ingest", list(docs), vectors)  # type: ignore[no-any-return]

    async def search(self, index: Index, query: str, vector: Any, **attrs: Any) -> list[Doc]:
        return list(await self._stored("search", index, query, vector, **attrs))

    async def _stored(self, op: str, *inputs: Any, **attrs: Any) -> Any:
        await self._store.start()
        request = Request(f"{next(self._ids):032x}", op, inputs, attrs)
        (outcome,) = await self._store.execute([request])
        if not isinstance(outcome, Result):
            raise outcome
        return outcome.outputs[0]

    async def close(self) -> None:
        await self._llm.close()
        await self._embedder.close()
        await self._http.aclose()
        await self._store.close()
