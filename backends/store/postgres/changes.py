"""Writing and deleting, within a transaction that holds the collection."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from backends.documents import Doc
from backends.store.collection import Entry, Vectors
from backends.store.deletion import by_source, who_goes
from backends.store.jobs import Delete, as_stored
from backends.store.lossless import doc_of
from backends.store.postgres.connections import Connection
from backends.store.postgres.rows import COLUMNS, TYPES, all_columns, as_jsonb, id_hash
from backends.store.postgres.schema import Tables
from backends.store.rows import common_dimensions, content_of, key_of, require_all, split_key

OLD_ROWS = 10_000  # kept for those who hold an index of them
_AT_ONCE = 256  # rows that are made ready together, in a thread

_STORED = """
    SELECT id_hash, content, is_newest, embedding FROM {rows}
    WHERE id_hash = ANY(%s) AND split_part(content, '.', 1) = ANY(%s)"""
_RETIRE = (
    "UPDATE {rows} SET is_newest = false, old_since = %s WHERE is_newest AND id_hash = ANY(%s)"
)
_RENEW = """
    UPDATE {rows} SET is_newest = true, old_since = NULL
    WHERE (id_hash, content) IN (SELECT * FROM unnest(%s::bytea[], %s::text[]))"""
_FORGET = """
    DELETE FROM {rows} WHERE seq IN (
        SELECT seq FROM {rows} WHERE NOT is_newest ORDER BY old_since, seq LIMIT %s)"""
_KEPT = """
    SELECT id_hash, content, doc_id, text, exact FROM {rows}
    WHERE (id_hash, content) IN (SELECT * FROM unnest(%s::bytea[], %s::text[]))"""
_PLACE = "coalesce(metadata -> 'source', 'null'), coalesce(metadata -> 'path', 'null')"
_DELETE = """
    UPDATE {rows} SET is_newest = false, old_since = %(change)s
    WHERE is_newest AND NOT id_hash = ANY(%(kept)s) AND (
        %(everything)s OR id_hash = ANY(%(ids)s) OR metadata -> 'parent' = ANY(%(parents)s::jsonb[])
        OR seq = ANY(%(odd)s) OR ({place}) IN (
            SELECT * FROM unnest(%(sources)s::jsonb[], %(paths)s::jsonb[])))"""

Stored = Mapping[bytes, dict[str, tuple[bool, Vectors | None]]]  # by id's hash, then content


async def write_entries(
    conn: Connection,
    tables: Tables,
    given: Sequence[Entry],
    change: int,
    dimensions: int | None,
) -> tuple[tuple[str, ...], int | None]:
    """Make each the newest of its id: the keys of their rows, and the dimensions of the store."""
    entries = [as_stored(entry) for entry in given]
    found = common_dimensions(entries, dimensions)
    if found != dimensions:
        query = tables.fill("UPDATE {collections} SET dimensions = %s WHERE id = %s")
        await conn.execute(query, [found, tables.collection])
    stored = await _stored(conn, tables, entries)
    keys: list[str] = []
    changed: list[tuple[Entry, str]] = []
    for entry in entries:
        rows = stored.get(id_hash(entry.doc.id), {})
        content = content_of(entry, {name: vector for name, (_, vector) in rows.items()})
        keys.append(key_of(entry.doc.id, content))
        if content not in rows or not rows[content][0]:
            changed.append((entry, content))
    await _make_newest(conn, tables, changed, stored, change)
    return tuple(keys), found


async def delete_documents(conn: Connection, tables: Tables, delete: Delete, change: int) -> int:
    """How many documents there were."""
    kept = [] if delete.kept is None else await _kept(conn, tables, delete.kept)
    params: dict[str, Any] = {
        "change": change,
        "everything": delete.everything,
        "kept": [id_hash(doc.id) for doc in kept],
        "ids": [id_hash(doc_id) for doc_id in delete.ids],
        "parents": [json for doc_id in delete.ids if (json := as_jsonb(doc_id)) is not None],
        "odd": await _odd(conn, tables, delete, kept),
    }
    params["sources"], params["paths"] = await _places(conn, tables, delete, kept)
    cursor = await conn.execute(tables.fill(_DELETE, place=sql.SQL(_PLACE)), params)
    num_deleted = cursor.rowcount
    await _forget(conn, tables)
    return num_deleted


async def _stored(conn: Connection, tables: Tables, entries: Iterable[Entry]) -> Stored:
    ids = [id_hash(entry.doc.id) for entry in entries]
    contents = [entry.content for entry in entries]
    stored: dict[bytes, dict[str, tuple[bool, Vectors | None]]] = {}
    cursor = conn.cursor(binary=True)
    await cursor.execute(tables.fill(_STORED), [ids, contents])
    async for hashed, content, is_newest, vector in cursor:
        stored.setdefault(hashed, {})[content] = (is_newest, vector)
    return stored


async def _make_newest(
    conn: Connection,
    tables: Tables,
    changed: Sequence[tuple[Entry, str]],
    stored: Stored,
    change: int,
) -> None:
    if not changed:
        return
    ids = [id_hash(entry.doc.id) for entry, _ in changed]
    await conn.execute(tables.fill(_RETIRE), [change, ids])
    is_there = [
        content in stored.get(hashed, {}) for hashed, (_, content) in zip(ids, changed, strict=True)
    ]
    again = [i for i, there in enumerate(is_there) if there]
    await conn.execute(
        tables.fill(_RENEW), [[ids[i] for i in again], [changed[i][1] for i in again]]
    )
    await _copy(
        conn, tables, [row for row, there in zip(changed, is_there, strict=True) if not there]
    )
    await _forget(conn, tables)


async def _copy(conn: Connection, tables: Tables, rows: Sequence[tuple[Entry, str]]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    query = tables.fill("COPY {rows} ({names}) FROM STDIN (FORMAT binary)", names=names)
    async with conn.cursor().copy(query) as copy:
        copy.set_types(TYPES)
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            for columns in await asyncio.to_thread(all_columns, part):
                await copy.write_row(columns)


async def _forget(conn: Connection, tables: Tables) -> None:
    """Drop old rows, if there are more than twice as many as are kept, the longest old first."""
    query = tables.fill("SELECT count(*) FROM {rows} WHERE NOT is_newest")
    row = await (await conn.execute(query)).fetchone()
    num_old = 0 if row is None else int(row[0])
    if num_old > 2 * OLD_ROWS:
        await conn.execute(tables.fill(_FORGET), [num_old - OLD_ROWS])


async def _kept(conn: Connection, tables: Tables, keys: Sequence[str]) -> list[Doc]:
    hashes = {
        (id_hash(doc_id), content): key for key in keys for doc_id, content in [split_key(key)]
    }
    ids, contents = [hashed for hashed, _ in hashes], [content for _, content in hashes]
    cursor = await conn.execute(tables.fill(_KEPT), [ids, contents])
    rows = await cursor.fetchall()
    require_all(keys, [hashes[bytes(hashed), content] for hashed, content, *_ in rows])
    return [doc_of(*columns) for _, _, *columns in rows]


async def _odd(conn: Connection, tables: Tables, delete: Delete, kept: Sequence[Doc]) -> list[int]:
    """Of the documents whose metadata is not in JSONB those that go."""
    query = "SELECT seq, doc_id, text, exact FROM {rows} WHERE is_newest AND metadata IS NULL"
    rows = await (await conn.execute(tables.fill(query))).fetchall()
    goes = who_goes(delete, kept)
    docs = [(seq, doc_of(*columns)) for seq, *columns in rows]
    return [seq for seq, doc in docs if goes(doc.id, doc.metadata)]


async def _places(
    conn: Connection, tables: Tables, delete: Delete, kept: Sequence[Doc]
) -> tuple[list[Jsonb], list[Jsonb]]:
    """The sources and paths of documents that go; there are fewer of them than of documents."""
    if not delete.sources and not kept:
        return [], []
    query = "SELECT DISTINCT {place} FROM {rows} WHERE is_newest AND metadata IS NOT NULL"
    rows = await (await conn.execute(tables.fill(query, place=sql.SQL(_PLACE)))).fetchall()
    goes = by_source(delete, kept)
    meant = [(source, path) for source, path in rows if goes({"source": source, "path": path})]
    return [Jsonb(source) for source, _ in meant], [Jsonb(path) for _, path in meant]
