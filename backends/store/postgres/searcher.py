"""Searches as SQL: exact, but for a search of the whole store where it has an HNSW index."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import sql
from psycopg.rows import TupleRow

from backends.documents import Doc
from backends.store.collection import Vectors
from backends.store.exact import Candidate, best, candidates
from backends.store.jobs import Search
from backends.store.lossless import doc_of
from backends.store.postgres.connections import Connection
from backends.store.postgres.filters import to_sql
from backends.store.postgres.rows import WORD_BITS, id_hash
from backends.store.postgres.schema import Tables, as_indexed
from backends.store.ranking import Hits, depth_of, fuse
from backends.store.rows import (
    last_of_each_id,
    no_vectors,
    other_dimensions,
    require_all,
    split_key,
)
from backends.store.where import Where
from backends.store.words import K1, B, query_words

_KEPT_INDEXES = 64
_RESOLVE = """
    SELECT seq, id_hash, content FROM {rows}
    WHERE (id_hash, content) IN (SELECT * FROM unnest(%s::bytea[], %s::text[]))"""
_NEAREST = """
    SELECT seq, embedding, {vector} <#> {query} AS distance FROM {rows}
    WHERE {scope} AND embedding IS NOT NULL AND {passes} ORDER BY distance LIMIT %(limit)s"""
_BY_WORDS = """
    WITH whole AS (
        SELECT count(*)::float8 AS num_texts, avg(num_words)::float8 AS mean_words
        FROM {rows} WHERE {scope}
    ), hits AS (
        SELECT seq, asked.weight, asked.word, stored.count::float8 AS frequency,
               num_words / mean_words AS length, {passes} AS passes
        FROM whole, {rows}, unnest(words, counts) AS stored(word, count)
        JOIN unnest(%(words)s::bigint[], %(weights)s::float8[]) AS asked(word, weight)
            ON asked.word = stored.word
        WHERE {scope} AND words && %(words)s::bigint[]
    ), rare AS (
        SELECT word, ln(1 + (num_texts - count(*) + 0.5) / (count(*) + 0.5)) AS idf
        FROM hits, whole GROUP BY word, num_texts
    )
    SELECT seq, sum(weight * idf * frequency
                    / (%(k1)s * (1 - %(b)s + %(b)s * length) + frequency))::float4 AS score
    FROM hits JOIN rare USING (word) WHERE passes
    GROUP BY seq ORDER BY score DESC, seq LIMIT %(limit)s"""
_TRUE = sql.SQL("true")
_NEWEST, _NAMED = sql.SQL("is_newest"), sql.SQL("seq = ANY(%(seqs)s)")


@dataclass(frozen=True, slots=True)
class _Set:
    """The rows that are searched, and of them those that the filter lets pass."""

    is_whole: bool
    scope: sql.Composable
    passes: sql.Composable
    params: dict[str, Any]


class Searcher:
    """Runs searches of one collection, each within a transaction that the caller opens."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._resolved: OrderedDict[tuple[str, ...], list[int]] = OrderedDict()

    async def search(self, conn: Connection, search: Search) -> list[Doc]:
        """The best k documents. Raises RequestRejected."""
        found = await self._set(conn, search)
        depth = depth_of(search.mode, search.k)
        hits: Hits = []
        if search.vector is not None and search.mode != "bm25":
            hits = await self._nearest(conn, found, search, search.vector, depth)
        if search.mode != "vector":
            words = await self._by_words(conn, found, search.query, depth)
            hits = words if search.mode == "bm25" else fuse([hits, words], search.k)
        return await self._docs(conn, hits)

    async def _set(self, conn: Connection, search: Search) -> _Set:
        params: dict[str, Any] = {}
        if search.keys is not None:
            params["seqs"] = await self._seqs(conn, search.keys)
        scope = _NEWEST if search.keys is None else _NAMED
        passes: sql.Composable = _TRUE
        if search.where is not None:
            passes, more = await self._passes(conn, search.where, scope, params)
            params |= more
        return _Set(search.keys is None, scope, passes, params)

    async def _seqs(self, conn: Connection, keys: tuple[str, ...]) -> list[int]:
        """The numbers of an index's rows, which may be forgotten at any time."""
        seqs = self._resolved.pop(keys, None)
        query = "SELECT count(*) AS num FROM {rows} WHERE seq = ANY(%(seqs)s)"
        if seqs is None or (await self._all(conn, query, {"seqs": seqs}))[0][0] < len(seqs):
            seqs = await self._resolve(conn, keys)
        self._resolved[keys] = seqs
        if len(self._resolved) > _KEPT_INDEXES:
            self._resolved.popitem(last=False)
        return seqs

    async def _resolve(self, conn: Connection, keys: tuple[str, ...]) -> list[int]:
        pairs = {
            key: (id_hash(doc_id), content) for key in keys for doc_id, content in [split_key(key)]
        }
        hashes, contents = (
            [pair[0] for pair in pairs.values()],
            [pair[1] for pair in pairs.values()],
        )
        rows = await (
            await conn.execute(self._tables.fill(_RESOLVE), [hashes, contents])
        ).fetchall()
        seqs = {(bytes(hashed), content): seq for seq, hashed, content in rows}
        require_all(keys, [key for key, pair in pairs.items() if pair in seqs])
        return sorted(seqs[pairs[key]] for key in last_of_each_id(keys))

    async def _passes(
        self, conn: Connection, where: Where, scope: sql.Composable, params: dict[str, Any]
    ) -> tuple[sql.Composable, dict[str, Any]]:
        """The filter in SQL, and the rows for which it had to be evaluated here."""
        translated = to_sql(where)
        here = _TRUE if translated is None else sql.SQL("metadata IS NULL")
        query = "SELECT seq, doc_id, text, exact FROM {rows} WHERE {scope} AND {here}"
        rows = await self._all(conn, query, params, scope=scope, here=here)
        passing = [seq for seq, *columns in rows if where(doc_of(*columns).metadata)]
        test, more = translated or (sql.SQL("false"), {})
        passes = sql.SQL("((metadata IS NOT NULL AND {}) OR seq = ANY(%(passing)s))").format(test)
        return passes, {**more, "passing": passing}

    async def _nearest(
        self, conn: Connection, found: _Set, search: Search, query: Vectors, depth: int
    ) -> Hits:
        dimensions = await self._dimensions(conn)
        if len(query) != dimensions:
            await self._explain_nothing(conn, found, search, dimensions)
            return []
        statement = self._statement(found, dimensions)
        params = {**found.params, "query": query}

        async def fetch(limit: int) -> list[Candidate]:
            if found.is_whole:
                await self._prepare(conn, limit)
            cursor = conn.cursor(binary=True)
            await cursor.execute(statement, {**params, "limit": limit})
            rows = await cursor.fetchall()
            return [Candidate(seq, -distance, vector) for seq, vector, distance in rows]

        hits = best(await candidates(fetch, depth), query, depth)
        if not hits:
            await self._explain_nothing(conn, found, search, dimensions)
        return hits

    def _statement(self, found: _Set, dimensions: int) -> sql.Composed:
        """Only the form that is indexed can use the index."""
        vector: sql.Composable = sql.Identifier("embedding")
        query: sql.Composable = sql.Placeholder("query")
        if found.is_whole and as_indexed(dimensions, vector) is not None:
            vector = as_indexed(dimensions, vector) or vector
            query = as_indexed(dimensions, query) or query
        return self._tables.fill(
            _NEAREST, vector=vector, query=query, scope=found.scope, passes=found.passes
        )

    async def _prepare(self, conn: Connection, limit: int) -> None:
        """The index goes on until it has enough that pass the filter."""
        width = str(max(100, min(1000, 2 * limit)))
        await conn.execute(
            "SELECT set_config('hnsw.ef_search', %s, true), "
            "set_config('hnsw.iterative_scan', 'strict_order', true)",
            [width],
        )

    async def _dimensions(self, conn: Connection) -> int:
        query = "SELECT coalesce(dimensions, 0) FROM {collections} WHERE id = %(id)s"
        ((dimensions,),) = await self._all(conn, query, {"id": self._tables.collection})
        return int(dimensions)

    async def _explain_nothing(
        self, conn: Connection, found: _Set, search: Search, dimensions: int
    ) -> None:
        """Raises RequestRejected unless there was nothing to find."""
        query = "SELECT count(*), count(embedding) FROM {rows} WHERE {scope}"
        ((num_rows, num_vectors),) = await self._all(conn, query, found.params, scope=found.scope)
        if num_rows and not num_vectors:
            raise no_vectors(search.mode)
        if num_rows and search.vector is not None and len(search.vector) != dimensions:
            raise other_dimensions(search.vector, dimensions)

    async def _by_words(self, conn: Connection, found: _Set, query: str, depth: int) -> Hits:
        words = query_words(query, WORD_BITS)
        if not words:
            return []
        params = {
            **found.params,
            "words": list(words),
            "weights": [float(count) for count in words.values()],
            "k1": K1,
            "b": B,
            "limit": depth,
        }
        rows = await self._all(conn, _BY_WORDS, params, scope=found.scope, passes=found.passes)
        return [(seq, float(score)) for seq, score in rows]

    async def _docs(self, conn: Connection, hits: Hits) -> list[Doc]:
        query = "SELECT seq, doc_id, text, exact FROM {rows} WHERE seq = ANY(%(seqs)s)"
        rows = await self._all(conn, query, {"seqs": [seq for seq, _ in hits]})
        docs = {seq: doc_of(*columns) for seq, *columns in rows}
        return [replace(docs[seq], score=score) for seq, score in hits]

    async def _all(
        self, conn: Connection, template: str, params: dict[str, Any], **parts: sql.Composable
    ) -> Sequence[TupleRow]:
        cursor = await conn.execute(self._tables.fill(template, **parts), params)
        return await cursor.fetchall()
