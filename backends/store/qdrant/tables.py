"""The two collections of a store, made when the first documents come."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from qdrant_client import models

from backends.errors import EngineError
from backends.store.qdrant.calls import Calls
from backends.store.qdrant.points import VECTOR, WORDS

_PAGE = 1000  # points of one answer
_KINDS = {  # of payload indexes
    "facts": models.PayloadSchemaType.KEYWORD,
    "is_odd": models.PayloadSchemaType.BOOL,
}


class Tables:
    """The newest documents, and all rows."""

    def __init__(self, calls: Calls, name: str) -> None:
        self.calls = calls
        self.newest, self.rows = name, f"{name}.rows"
        self._is_there = False
        self._dimensions: int | None = None
        self._indexed: set[str] = set()  # numbers that have a payload index
        self._making = asyncio.Lock()

    async def dimensions(self) -> int | None:
        """Those of the vectors, or None before the first."""
        if self._dimensions is None and await self.exists():
            self._dimensions = await self._dimensions_of(self.newest)
        return self._dimensions

    async def exists(self) -> bool:
        """Another process may have made them."""
        if not self._is_there:
            self._is_there = await self._has(self.newest)
        return self._is_there

    async def make(self, dimensions: int | None) -> None:
        """With vectors of so many dimensions, if there are any yet."""
        if self._is_there and (dimensions is None or self._dimensions is not None):
            return
        async with self._making:
            for name in (self.rows, self.newest):  # the last one says that both are there
                await self._make_one(name, dimensions)
            self._is_there = True
            self._dimensions = dimensions if dimensions is not None else self._dimensions

    async def index_numbers(self, fields: set[str]) -> None:
        """A payload index a field, which a server filters by."""
        if self.calls.is_server:
            for field in fields - self._indexed:
                await self._index(f"numbers.{field}", models.PayloadSchemaType.FLOAT)
            self._indexed |= fields

    async def retrieve(
        self, collection: str, points: Sequence[str], payload: list[str], *, vectors: bool = False
    ) -> dict[str, Any]:
        """The points that are there, by id."""
        found: dict[str, Any] = {}
        for start in range(0, len(points), _PAGE):
            records = await self.calls.call(
                "retrieve",
                collection_name=collection,
                ids=list(points[start : start + _PAGE]),
                with_payload=payload,
                with_vectors=[VECTOR] if vectors and await self.dimensions() else False,
            )
            found |= {str(record.id): record for record in records}
        return found

    async def scroll(
        self, collection: str, chosen: models.Filter | None, payload: list[str]
    ) -> AsyncIterator[Any]:
        """Every point that the filter lets pass."""
        offset = None
        while True:
            records, offset = await self.calls.call(
                "scroll",
                collection_name=collection,
                scroll_filter=chosen,
                limit=_PAGE,
                offset=offset,
                with_payload=payload,
            )
            for record in records:
                yield record
            if offset is None:
                return

    async def count(self, collection: str, chosen: models.Filter | None = None) -> int:
        found = await self.calls.call(
            "count", collection_name=collection, count_filter=chosen, exact=True
        )
        return int(found.count)

    async def _make_one(self, name: str, dimensions: int | None) -> None:
        """Another process may do the same at this moment, and be first."""
        if not await self._has(name):
            try:
                await self._create(name, dimensions)
            except EngineError:
                if not await self._has(name):
                    raise
        if dimensions is not None and await self._dimensions_of(name) is None:
            try:
                await self._add_vectors(name, dimensions)
            except EngineError:
                if await self._dimensions_of(name) is None:
                    raise

    async def _has(self, name: str) -> bool:
        return bool(await self.calls.call("collection_exists", collection_name=name))

    async def _dimensions_of(self, name: str) -> int | None:
        found = await self.calls.call("get_collection", collection_name=name)
        vectors = found.config.params.vectors
        return vectors[VECTOR].size if isinstance(vectors, dict) and VECTOR in vectors else None

    async def _create(self, name: str, dimensions: int | None) -> None:
        sparse = models.SparseVectorParams(modifier=models.Modifier.IDF)
        dense = {} if dimensions is None else {VECTOR: self._params(name, dimensions)}
        await self.calls.call(
            "create_collection",
            collection_name=name,
            vectors_config=dense,
            sparse_vectors_config={WORDS: sparse},
        )
        if self.calls.is_server:
            for key, kind in _KINDS.items():
                await self._index(key, kind)

    def _params(self, name: str, dimensions: int) -> models.VectorParams:
        """Vectors are of length 1, so that products are cosines. Rows are searched exactly."""
        distance = models.Distance.DOT
        if name == self.newest:
            return models.VectorParams(size=dimensions, distance=distance)
        graph = models.HnswConfigDiff(m=0)
        return models.VectorParams(
            size=dimensions, distance=distance, hnsw_config=graph, on_disk=True
        )

    async def _add_vectors(self, name: str, dimensions: int) -> None:
        dense = models.DenseVectorConfig(size=dimensions, distance=models.Distance.DOT)
        await self.calls.call(
            "create_vector_name",
            collection_name=name,
            vector_name=VECTOR,
            vector_name_config=models.DenseVectorNameConfig(dense=dense),
        )

    async def _index(self, key: str, kind: models.PayloadSchemaType) -> None:
        for name in (self.rows, self.newest):
            if await self._has(name):
                await self.calls.call(
                    "create_payload_index", collection_name=name, field_name=key, field_schema=kind
                )
