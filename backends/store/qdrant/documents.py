"""One store in qdrant."""

from backends.documents import Doc
from backends.store.jobs import Delete, Ingest, Search
from backends.store.qdrant.calls import Calls
from backends.store.qdrant.changes import Changes
from backends.store.qdrant.searcher import Searcher
from backends.store.qdrant.tables import Tables


class QdrantDocuments:
    """`backends.store.remote_engine.Documents` over qdrant's client."""

    def __init__(self, calls: Calls, collection: str, average_words: int) -> None:
        self._calls = calls
        self._tables = Tables(calls, collection)
        self._changes = Changes(self._tables, average_words)
        self._searcher = Searcher(self._tables)

    async def open(self) -> None:
        await self._calls.open()

    async def close(self) -> None:
        await self._calls.close()

    async def ingest(self, ingest: Ingest) -> tuple[str, ...]:
        return await self._changes.ingest(ingest.entries)

    async def delete(self, delete: Delete) -> int:
        return await self._changes.delete(delete)

    async def count(self) -> int:
        if not await self._tables.exists():
            return 0
        return await self._tables.count(self._tables.newest)

    async def search(self, search: Search) -> list[Doc]:
        return await self._searcher.search(search)
