"""The HNSW index of a collection's vectors: built when there are many, used where it may be."""

from psycopg import sql

from backends.store.postgres.connections import Connection, Connections
from backends.store.postgres.schema import Tables, as_indexed

_IS_READY = """
    SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"""
_COUNT = "SELECT count(*) FROM {rows} WHERE is_newest AND embedding IS NOT NULL"
_CREATE = """
    CREATE INDEX CONCURRENTLY {index} ON {rows} USING hnsw ({vector} {operators}) WHERE is_newest"""


class VectorIndex:
    """Built once, by the ingest after which there are more than `above` documents."""

    def __init__(self, connections: Connections, tables: Tables, above: int | None) -> None:
        self._connections = connections
        self._tables = tables
        self._above = above
        self._is_there = False

    async def build_if_it_pays(self, dimensions: int) -> None:
        """Reads and writes of others go on meanwhile; the caller waits however long it takes."""
        vector = as_indexed(dimensions, sql.Identifier("embedding"))
        if self._above is None or self._is_there or vector is None:
            return
        async with self._connections.connection(None) as conn:
            if await self._pays(conn):
                await self._build(conn, vector)

    async def _pays(self, conn: Connection) -> bool:
        row = await (await conn.execute(self._tables.fill(_COUNT))).fetchone()
        return row is not None and self._above is not None and row[0] > self._above

    async def _build(self, conn: Connection, vector: sql.Composable) -> None:
        lock = f"teola.{self._tables.schema}.{self._tables.collection}"
        ours = await conn.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [lock])
        if await ours.fetchone() != (True,):
            return  # another process builds it; to wait here would hold up its work
        try:
            name = self._tables.indexed.as_string(conn)
            row = await (await conn.execute(_IS_READY, [name])).fetchone()
            if row is not None and not row[0]:  # whoever built it was stopped
                await conn.execute(
                    self._tables.fill("DROP INDEX {name}", name=self._tables.indexed)
                )
            if row is None or not row[0]:
                await conn.execute(self._create(vector, conn))
            self._is_there = True
        finally:
            await conn.execute("SELECT pg_advisory_unlock(hashtext(%s))", [lock])

    def _create(self, vector: sql.Composable, conn: Connection) -> sql.Composed:
        kind = "halfvec" if "halfvec" in vector.as_string(conn) else "vector"
        return self._tables.fill(
            _CREATE, index=self._tables.index, vector=vector, operators=sql.SQL(f"{kind}_ip_ops")
        )
