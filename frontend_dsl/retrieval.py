"""Components that search: stores, their indexes, rerankers; and how they lower to primitives."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import count
from typing import Any, Literal, cast

from backends.documents import Doc
from backends.documents import Index as Rows
from backends.registry import EngineSpec
from frontend_dsl.components import PYTHON, Component, Embedder
from frontend_dsl.errors import TraceError
from frontend_dsl.functions import count_by, files_behind
from frontend_dsl.marked_texts import is_symbolic
from frontend_dsl.outside import compute
from frontend_dsl.tracer import Tracer, current, tracing
from frontend_dsl.value import Handle, Value
from frontend_dsl.where import user_frame
from graph_opt.graph import Json

SearchMode = Literal["vector", "bm25", "hybrid"]

_instances = count(1)


class Store(Component):
    """A document store: `Store("local:", embedder=...)` in memory, `Store("local:folder")` on disk,
    `Store("postgresql://me@host/db")`, `Store("qdrant://host/collection")`.

    Each object in memory has documents of its own, kept until the process ends: make it once.
    Objects of one folder share theirs. Without an embedder only `mode="bm25"` searches work.

    A document that comes again under its id replaces the one before; one that did not change is not
    written again. All methods work in an app, where they keep the program's order, and outside of
    one, where they run at once; from a coroutine outside of an app call them in a thread.
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
        if (
            not url.partition(":")[2] or url == "qdrant:memory"
        ):  # nothing that another object could mean too
            self.spec = replace(self.spec, instance=next(_instances))

        def handle(rows: Rows, spec: EngineSpec, embedder: EngineSpec | None) -> "Index":
            return Index(self._on(spec, embedder), rows)

        self.handle = handle  # one object, by which graphs know it

    def index(self, docs: Sequence[Doc], *, sync: bool | str | Sequence[str] = False) -> "Index":
        """Embed and store documents; the handle searches just these, as they are now.

        With `sync=True` the store's documents of the same sources become these: what a file that
        changed or vanished left behind goes. The sources are the files, folders and patterns that
        `tl.load` was given for these documents, and for documents made otherwise their metadata's
        `source`. `sync=[...]` names more of them: of a folder, say, whose files may all be gone.
        A file that was skipped because it cannot be read leaves nothing behind either.
        """
        if current() is None:
            return compute("index", lambda: self.index(docs, sync=sync))
        tracer = tracing("Store.index")
        if self.embedder is not None:
            count_by(self.embedder, docs)
        with tracer.call("index"):
            engine = tracer.symbols.engine(self)
            vectors = _embedded(tracer, self.embedder, docs, "index.vectors")
            rows = tracer.emit("ingest", (docs, vectors), {"engine": engine}, "index", Rows)
            if sync is not False:
                named = [] if sync is True else [_as_list(sync)]
                sources = [*files_behind(docs), *named]
                self._delete(None, sources, rows)
        return Index(self, rows)

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        mode: SearchMode = "vector",
        where: Mapping[str, Any] | None = None,
    ) -> list[Doc]:
        """The `k` best documents of everything stored, best first; see `Index.search`."""
        return Index(self, None).search(query, k=k, mode=mode, where=where)

    def count(self) -> int:
        """How many documents are stored."""
        if current() is None:
            return compute("count", self.count)
        tracer = tracing("Store.count")
        with tracer.call("count"):
            attrs: dict[str, Json] = {"engine": tracer.symbols.engine(self)}
            return cast(int, tracer.emit("count", (), attrs, "count", int))

    def delete(
        self,
        *,
        ids: str | Sequence[str] | None = None,
        source: str | Sequence[str] | None = None,
    ) -> int:
        """Remove documents; how many there were.

        `ids` are theirs, or those of the documents that they were split from. A `source` is a file,
        everything in a folder, or what matches a pattern; or what their metadata has as `source`.
        An index that was made before keeps its documents.
        """
        if ids is None and source is None:
            raise TraceError(
                "Store.delete needs ids= or source=; Store.clear() removes everything",
                *user_frame(),
            )
        if current() is None:
            return compute("delete", lambda: self.delete(ids=ids, source=source))
        with tracing("Store.delete").call("delete"):
            sources = [] if source is None else [_as_list(source)]
            return self._delete(None if ids is None else _as_list(ids), sources, None)

    def clear(self) -> int:
        """Remove everything; how many documents there were."""
        if current() is None:
            return compute("clear", self.clear)
        with tracing("Store.clear").call("clear"):
            return self._delete(None, [], None, all=True)

    def _on(self, spec: EngineSpec, embedder: EngineSpec | None) -> "Store":
        """This store on the engines that a run used, which may replace its own."""
        mine = None if self.embedder is None else self.embedder.spec
        if spec == self.spec and embedder == mine:
            return self
        other = copy(self)
        other.spec, other.embedder = spec, copy(self.embedder)
        if other.embedder is not None and embedder is not None:
            other.embedder.spec = embedder
        return other

    def _delete(self, ids: Any, sources: Sequence[Any], kept: Any, **attrs: Json) -> int:
        tracer = tracing("Store.delete")
        named = sources[0] if len(sources) == 1 else None
        if len(sources) > 1:
            named = tracer.emit("concat", sources, {}, "sources", list)
        engine = tracer.symbols.engine(self)
        args = (ids, named, kept)
        return cast(int, tracer.emit("delete", args, {"engine": engine, **attrs}, "deleted", int))


class Index(Handle):
    """Documents in a store as they were when they were indexed: `Store.index` gives it.

    An app may return it, and take one as an argument of type `tl.Index`. Outside of an app it can
    be searched too. It is of this process: a store in a folder keeps the documents, which
    `Store.search` finds in another one.
    """

    def __init__(self, store: Store, behind: Any) -> None:
        self._store = store
        self.behind = behind  # symbolic, or the rows, or None for all that the store holds

    def __repr__(self) -> str:
        ids = getattr(self.behind, "ids", None)
        size = "" if ids is None else f" of {len(ids)} documents"
        return f"<index{size} in {self._store!r}>"

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        mode: SearchMode = "vector",
        where: Mapping[str, Any] | None = None,
    ) -> list[Doc]:
        """The `k` best documents, best first. `where` filters by metadata.

        `where={"source": "a.md"}`, `where={"year": {"ge": 2020}}`; all fields must hold. Its values
        may be known only when the app runs.
        """
        if current() is None:
            return compute("search", lambda: self.search(query, k=k, mode=mode, where=where))
        tracer = tracing("search")
        attrs: dict[str, Json] = {"k": k, "mode": mode}
        with tracer.call("search"):
            vector = None
            if mode != "bm25":
                self._require_embedder(mode)
                vector = _embedded(tracer, self._store.embedder, query, "search.vector")
            args = [self.behind, query, vector]
            if where is not None and (is_symbolic(where) or tracer.given(where) is not None):
                args.append(where)
            elif where is not None:
                attrs["where"] = cast(Json, dict(where))
            attrs["engine"] = tracer.symbols.engine(self._store)
            return cast(list[Doc], tracer.emit("search", args, attrs, "search", list[Doc]))

    def lower(self, tracer: Tracer) -> Value:
        attrs: dict[str, Json] = {
            "fn": tracer.symbols.value("handle", self._store.handle),
            "pure": True,
            "engine": tracer.symbols.engine(PYTHON),
        }
        store, embedder = self._store, self._store.embedder
        specs = [tracer.spec(part) if part is not None else None for part in (store, embedder)]
        return tracer.emit("call", (self.behind, *specs), attrs, "handle", Index)

    def like(self, behind: Any) -> "Index":
        return Index(self._store, behind)

    @property
    def key(self) -> str:
        embedder = self._store.embedder
        parts = [(part.spec.key, part.name) for part in (self._store, embedder) if part is not None]
        return f"<index {parts}>"

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


def _embedded(tracer: Tracer, embedder: Embedder | None, what: Any, hint: str) -> Value | None:
    """The vectors of a text or of documents, where there is an embedder."""
    if embedder is None:
        return None
    engine = tracer.symbols.engine(embedder)
    return tracer.emit("embed", (what,), {"engine": engine}, hint, Any)


def _as_list(given: Any) -> Any:
    """A list, of one text too, known now or not."""
    is_text = isinstance(given, str) or (isinstance(given, Value) and given._type is str)
    return [given] if is_text else given
