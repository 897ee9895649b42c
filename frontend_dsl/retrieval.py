"""Components that search: stores, their indexes, rerankers; and how they lower to primitives."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Literal, cast

from backends.documents import Doc, Index
from frontend_dsl.components import Component, Embedder
from frontend_dsl.errors import TraceError
from frontend_dsl.tracer import Tracer, tracing
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame
from graph_opt.graph import Json

SearchMode = Literal["vector", "bm25", "hybrid"]

_instances = count(1)


class Store(Component):
    """A document store: `Store("local:", embedder=...)` in memory, `Store("local:folder")` on disk.

    Each object in memory has documents of its own, kept until the process ends: make it once.
    Objects of one folder share theirs. Without an embedder only `mode="bm25"` searches work.
    """

    kind = "store"

    def __init__(
        self,
        url: str,
        *,
        embedder: Embedder | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(url, name=name, **options)
        self.embedder = embedder
        if not url.partition(":")[2]:  # nothing that another object could mean too
            self.spec = replace(self.spec, instance=next(_instances))

    def index(self, docs: Sequence[Doc]) -> "IndexRef":
        """Embed and store documents; the handle searches just these, as they are now."""
        tracer = tracing("Store.index")
        with tracer.call("index"):
            engine = tracer.symbols.engine(self)
            vectors = _embed(tracer, self.embedder, docs, "index.vectors")
            index = tracer.emit("ingest", (docs, vectors), {"engine": engine}, "index", Index)
        return IndexRef(self, index)

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        mode: SearchMode = "vector",
        where: Mapping[str, Any] | None = None,
    ) -> list[Doc]:
        """The `k` best documents of everything stored, best first."""
        return IndexRef(self, None).search(query, k=k, mode=mode, where=where)


class IndexRef:
    """Documents in a store, ready to be searched."""

    def __init__(self, store: Store, value: Value | None) -> None:
        self._store = store
        self._value = value

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        mode: SearchMode = "vector",
        where: Mapping[str, Any] | None = None,
    ) -> list[Doc]:
        """The `k` best documents, best first. `where` filters by metadata.

        `where={"source": "a.md"}`, `where={"year": {"ge": 2020}}`; all fields must hold.
        """
        tracer = tracing("search")
        attrs: dict[str, Json] = {"k": k, "mode": mode}
        if where is not None:
            attrs["where"] = cast(Json, dict(where))
        with tracer.call("search"):
            vector = None
            if mode != "bm25":
                self._require_embedder(mode)
                vector = _embed(tracer, self._store.embedder, query, "search.vector")
            attrs["engine"] = tracer.symbols.engine(self._store)
            args = (self._value, query, vector)
            return cast(list[Doc], tracer.emit("search", args, attrs, "search", list[Doc]))

    def _require_embedder(self, mode: str) -> None:
        if self._store.embedder is None:
            raise TraceError(
                f"a {mode!r} search needs vectors, and {self._store!r} has no embedder: "
                'give it one, or search with mode="bm25"',
                *user_frame(),
            )


class Reranker(Component):
    """Orders passages by how well they answer: `reranker(question, docs, k=5)`."""

    kind = "reranker"

    def __call__(self, query: str, docs: Sequence[Doc], *, k: int | None = None) -> list[Doc]:
        """The `k` best of `docs` (all without `k`), best first."""
        tracer = tracing("a Reranker")
        with tracer.call("rerank"):
            attrs: dict[str, Json] = {"engine": tracer.symbols.engine(self)}
            if k is not None:
                attrs["k"] = k
            ranked = tracer.emit("rerank", (query, docs), attrs, "rerank", list[Doc])
        return cast(list[Doc], ranked)


def _embed(tracer: Tracer, embedder: Embedder | None, what: Any, hint: str) -> Value | None:
    if embedder is None:
        return None
    engine = tracer.symbols.engine(embedder)
    return tracer.emit("embed", (what,), {"engine": engine}, hint, Any)
