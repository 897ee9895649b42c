"""One collection in a database. Writers of a collection, in all processes, take turns."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backends.documents import Doc
from backends.store.jobs import Delete, Ingest, Search
from backends.store.postgres.changes import delete_documents, write_entries
from backends.store.postgres.connections import Connection, Connections
from backends.store.postgres.indexing import VectorIndex
from backends.store.postgres.schema import Tables, open_schema
from backends.store.postgres.searcher import Searcher

_LOCK = "UPDATE {collections} SET changes = changes + 1 WHERE id = %s RETURNING changes, dimensions"


class PostgresDocuments:
    """`backends.store.remote_engine.Documents` over a pool of connections."""

    def __init__(
        self, connections: Connections, schema: str, collection: str, index_above: int | None
    ) -> None:
        self._connections = connections
        self._schema = schema
        self._collection = collection
        self._index_above = index_above
        self._tables: Tables | None = None
        self._searcher: Searcher | None = None
        self._index: VectorIndex | None = None

    async def open(self) -> None:
        async with self._connections.connection(self._connections.timeout_s) as conn:
            tables, oid = await open_schema(conn, self._schema, self._collection)
        await self._connections.close()  # it knows no vectors yet
        self._connections.vector_oid = oid
        self._tables = tables
        self._index = VectorIndex(self._connections, tables, self._index_above)
        self._searcher = Searcher(tables)

    async def close(self) -> None:
        await self._connections.close()

    async def ingest(self, ingest: Ingest) -> tuple[str, ...]:
        async with self._change() as (conn, change, dimensions):
            keys, dimensions = await write_entries(
                conn, self.tables, ingest.entries, change, dimensions
            )
        if self._index is not None and dimensions is not None:
            await self._index.build_if_it_pays(dimensions)
        return keys

    async def delete(self, delete: Delete) -> int:
        async with self._change() as (conn, change, _):
            return await delete_documents(conn, self.tables, delete, change)

    async def count(self) -> int:
        async with self._connections.transaction(reads=True) as conn:
            query = self.tables.fill("SELECT count(*) FROM {rows} WHERE is_newest")
            row = await (await conn.execute(query)).fetchone()
        return 0 if row is None else int(row[0])

    async def search(self, search: Search) -> list[Doc]:
        assert self._searcher is not None, "the engine was started"
        async with self._connections.transaction(reads=True) as conn:
            return await self._searcher.search(conn, search)

    @property
    def tables(self) -> Tables:
        assert self._tables is not None, "the engine was started"
        return self._tables

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[tuple[Connection, int, int | None]]:
        """A transaction that alone changes the collection; its number, and the dimensions."""
        async with self._connections.transaction(reads=False) as conn:
            query = self.tables.fill(_LOCK)
            row = await (await conn.execute(query, [self.tables.collection])).fetchone()
            assert row is not None, "a collection is never removed"
            yield conn, *row
