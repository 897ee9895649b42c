"""The tables of a database: made on first use, in versions.

teola.version       one row: of these tables
teola.collections   id, name, dimensions of its vectors, number of changes so far
teola.rows_ID       the rows of one collection, see `rows.py`
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from backends.errors import EngineUnavailable
from backends.store.postgres.connections import Connection
from backends.store.postgres.errors import INSTALL

# Each entry takes a database from one version to the next; entries are never changed.
MIGRATIONS = (
    """
    CREATE TABLE {collections} (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE,
        dimensions integer,
        changes bigint NOT NULL DEFAULT 0
    );
    """,
)
_ROWS = (  # a new collection, in the newest version
    """
    CREATE TABLE {rows} (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id_hash bytea NOT NULL,
        content text NOT NULL,
        is_newest boolean NOT NULL,
        old_since bigint,
        doc_id text NOT NULL,
        text text NOT NULL,
        metadata jsonb,
        exact text NOT NULL,
        embedding {vector},
        words bigint[] NOT NULL,
        counts integer[] NOT NULL,
        num_words integer NOT NULL,
        UNIQUE (id_hash, content)
    );
    """,
    "CREATE UNIQUE INDEX ON {rows} (id_hash) WHERE is_newest",
    "CREATE INDEX ON {rows} (old_since, seq) WHERE NOT is_newest",
    "CREATE INDEX ON {rows} (num_words) WHERE is_newest",
    "CREATE INDEX ON {rows} (seq) WHERE metadata IS NULL",
    "CREATE INDEX ON {rows} USING gin (words)",
    "CREATE INDEX ON {rows} USING gin (metadata jsonb_path_ops)",
)
_OLDEST = 0, 8  # of pgvector
_MAX_INDEXED, _MAX_HALF_INDEXED = 2000, 4000  # dimensions that pgvector's HNSW takes


@dataclass(frozen=True, slots=True)
class Tables:
    """The names of one collection's tables, and its statements."""

    schema: str
    collection: int

    def fill(self, template: str, **parts: sql.Composable) -> sql.Composed:
        """A statement; `{rows}` and `{collections}` stand for the tables."""
        rows = sql.Identifier(self.schema, f"rows_{self.collection}")
        collections = sql.Identifier(self.schema, "collections")
        return sql.SQL(template).format(rows=rows, collections=collections, **parts)

    @property
    def index(self) -> sql.Identifier:
        return sql.Identifier(self._index_name)

    @property
    def indexed(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self._index_name)

    @property
    def _index_name(self) -> str:
        return f"rows_{self.collection}_hnsw"


def as_indexed(dimensions: int, value: sql.Composable) -> sql.Composable | None:
    """The form in which a vector is indexed; None: too long for any."""
    if dimensions > _MAX_HALF_INDEXED:
        return None
    kind = "vector" if dimensions <= _MAX_INDEXED else "halfvec"
    return sql.SQL("({}::{}({}))").format(value, sql.SQL(kind), sql.Literal(dimensions))


async def open_schema(conn: Connection, schema: str, name: str) -> tuple[Tables, int]:
    """The tables of a collection, and the number of the vector type. Raises EngineUnavailable."""
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"teola.{schema}"])
        await _check_encoding(conn)
        await _require_extension(conn)
        await _migrate(conn, schema)
        collection = await _collection(conn, schema, name)
        oid: int = await _one(conn, "SELECT 'vector'::regtype::oid")
    return Tables(schema, collection), oid


async def _check_encoding(conn: Connection) -> None:
    encoding = await _one(conn, "SHOW server_encoding")
    if encoding != "UTF8":
        raise EngineUnavailable(
            f"the database's encoding is {encoding}, so it cannot hold every text; "
            "create one with ENCODING 'UTF8'"
        )


async def _require_extension(conn: Connection) -> None:
    find = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    if await _one(conn, find) is None:
        try:
            async with conn.transaction():
                await conn.execute("CREATE EXTENSION vector")
        except psycopg.DatabaseError as error:
            reason = error.diag.message_primary or str(error)
            raise EngineUnavailable(f"the database has no pgvector: {INSTALL} ({reason})") from None
    check_version(str(await _one(conn, find)))


def check_version(version: str) -> None:
    """Raises EngineUnavailable for a pgvector that cannot search an index with a filter."""
    major, minor = (int(number) for number in version.split(".")[:2])
    if (major, minor) < _OLDEST:
        raise EngineUnavailable(
            f"the database has pgvector {version}, and 0.8 is needed: upgrade it on the server and "
            "run ALTER EXTENSION vector UPDATE"
        )


async def _migrate(conn: Connection, schema: str) -> None:
    name = sql.Identifier(schema, "version")
    exists = await _one(conn, "SELECT to_regclass(%s) IS NOT NULL", [name.as_string(conn)])
    if not exists:
        await conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        await conn.execute(sql.SQL("CREATE TABLE {} (version integer NOT NULL)").format(name))
        await conn.execute(sql.SQL("INSERT INTO {} VALUES (0)").format(name))
    version = await _one(conn, sql.SQL("SELECT version FROM {}").format(name))
    if version > len(MIGRATIONS):
        raise EngineUnavailable(
            f"the schema {schema!r} was written by a newer teola (version {version} of its tables, "
            f"this one knows {len(MIGRATIONS)}); upgrade teola, or name another schema_name="
        )
    for step in MIGRATIONS[version:]:
        await conn.execute(Tables(schema, 0).fill(step))
    if version < len(MIGRATIONS):
        await conn.execute(sql.SQL("UPDATE {} SET version = %s").format(name), [len(MIGRATIONS)])


async def _collection(conn: Connection, schema: str, name: str) -> int:
    find = Tables(schema, 0).fill("SELECT id FROM {collections} WHERE name = %s")
    found: int | None = await _one(conn, find, [name])
    if found is not None:
        return found
    add = Tables(schema, 0).fill("INSERT INTO {collections} (name) VALUES (%s) RETURNING id")
    collection: int = await _one(conn, add, [name])
    for statement in _ROWS:
        tables = Tables(schema, collection)
        await conn.execute(tables.fill(statement, vector=sql.SQL("vector")))
    return collection


async def _one(
    conn: Connection, query: str | sql.Composed, params: Sequence[object] | None = None
) -> Any:
    row = await (await conn.execute(query, params)).fetchone()
    return None if row is None else row[0]
