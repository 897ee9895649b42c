"""A store in a real PostgreSQL: faults, several processes, the vector index, secrets."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from postgres_server import PASSWORD, PostgresServer
from store_testing import CAPITALS, COUNT, EAST, PLANE, Store, delete, ingest, search

from backends.base import Outcome
from backends.documents import Doc
from backends.errors import (
    ConfigError,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
)
from backends.registry import EngineSpec, create
from backends.store.postgres.errors import mapped
from backends.store.postgres.schema import check_version

pytestmark = pytest.mark.server

WRITER = Path(__file__).with_name("postgres_writer.py")
_schemas = count(1)


def open_store(url: str, **options: Any) -> Store:
    return Store(create(EngineSpec("store", url, options)))


@pytest.fixture
def schema() -> str:
    return f"own {next(_schemas)}"


@pytest.fixture
def store(postgres: PostgresServer, schema: str) -> Iterator[Store]:
    opened = open_store(postgres.url, schema_name=schema)
    opened.run(ingest(CAPITALS, PLANE))
    yield opened
    opened.close()


@pytest.fixture
def admin(postgres: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres.url, autocommit=True) as conn:
        yield conn


def refusal(url: str, **options: Any) -> str:
    with pytest.raises(EngineUnavailable) as caught:
        open_store(url, **options)
    return str(caught.value)


def blocked(store: Store, admin: psycopg.Connection[Any], schema: str, then: Any) -> Any:
    """What `then(task)` gives, once an ingest waits for a lock of the collection."""

    async def run() -> Any:
        with admin.transaction():
            admin.execute(f'SELECT * FROM "{schema}".collections FOR UPDATE')
            request = ingest([Doc("Lyon is in France", "fr"), Doc("new", "new")], PLANE[:2])
            task = asyncio.ensure_future(store.engine.execute([request]))
            while not waiting(admin) and not task.done():
                admin.execute("SELECT pg_stat_clear_snapshot()")
                await asyncio.sleep(0.01)
            return await then(task)

    return store.loop.run(run())


def waiting(admin: psycopg.Connection[Any]) -> list[int]:
    """The server's processes that wait for a lock."""
    query = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return [pid for (pid,) in admin.execute(query).fetchall()]


def test_a_wrong_password_says_where_it_comes_from_and_not_what_it_is(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "a wrong secret")
    message = refusal(postgres.url)
    assert "password authentication failed" in message
    assert "PGPASSWORD" in message
    assert "a wrong secret" not in message


def test_no_password_says_so(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD")
    assert "set PGPASSWORD or ~/.pgpass" in refusal(postgres.url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hidden@host/db",
        "postgresql://host/db?password=hidden",
        "postgresql://me:hid/den@host/db",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create(EngineSpec("store", url))
    assert "hid" not in str(caught.value)


def test_a_whole_url_comes_from_the_environment_and_is_shown_without_its_password(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, schema: str
) -> None:
    monkeypatch.delenv("PGPASSWORD")
    secret = "a%20p%40ss%3Aword%2F%3F"
    monkeypatch.setenv("MY_DATABASE", postgres.url.replace("postgres@", f"postgres:{secret}@"))
    store = open_store("postgresql:", url_env="MY_DATABASE", schema_name=schema)
    store.run(ingest(CAPITALS, PLANE))
    assert store.value(COUNT) == 4
    shown = repr(vars(store.engine)) + repr(store.engine.info)
    assert PASSWORD not in shown
    assert secret not in shown
    store.close()
    with pytest.raises(ConfigError, match="MISSING holds no postgresql:// URL"):
        create(EngineSpec("store", "postgresql:", {"url_env": "MISSING"}))


def test_a_server_that_is_not_there_is_named_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        message = refusal(f"postgresql://me@127.0.0.1:{port}/db")
    assert f"postgresql://me@127.0.0.1:{port}/db" in message
    assert "Connection refused" in message


def test_an_unknown_database_is_unavailable(postgres: PostgresServer) -> None:
    url = postgres.url.removesuffix("/postgres") + "/missing"
    assert 'database "missing" does not exist' in refusal(url)


def test_a_database_without_pgvector_says_what_to_run(
    postgres: PostgresServer, admin: psycopg.Connection[Any]
) -> None:
    admin.execute("CREATE ROLE plain LOGIN PASSWORD 'a p@ss:word/?'")
    admin.execute("CREATE DATABASE without OWNER plain")
    url = postgres.url.replace("postgres@", "plain@").replace("/postgres", "/without")
    message = refusal(url)
    assert "CREATE EXTENSION vector" in message
    assert "postgresql-NN-pgvector" in message


def test_who_may_not_make_tables_is_told(
    postgres: PostgresServer, store: Store, admin: psycopg.Connection[Any]
) -> None:
    admin.execute("CREATE ROLE reader LOGIN PASSWORD 'a p@ss:word/?'")
    url = postgres.url.replace("postgres@", "reader@")
    assert "permission denied" in refusal(url, schema_name="of the reader")


def test_tables_of_a_newer_teola_are_left_alone(
    postgres: PostgresServer, store: Store, admin: psycopg.Connection[Any], schema: str
) -> None:
    admin.execute(f'UPDATE "{schema}".version SET version = 99')
    assert "newer teola" in refusal(postgres.url, schema_name=schema)


def test_a_connection_that_is_killed_fails_its_request_alone(
    store: Store, admin: psycopg.Connection[Any], schema: str
) -> None:
    async def kill(task: "asyncio.Task[list[Outcome]]") -> list[Outcome]:
        for pid in waiting(admin):
            admin.execute("SELECT pg_terminate_backend(%s)", [pid])
        return await task

    (outcome,) = blocked(store, admin, schema, kill)
    assert isinstance(outcome, EngineUnavailable)
    assert "terminating connection" in str(outcome)
    assert store.ids(search("Lyon", mode="bm25")) == []
    assert store.value(COUNT) == 4


def test_an_ingest_that_is_cancelled_leaves_nothing(
    store: Store, admin: psycopg.Connection[Any], schema: str
) -> None:
    async def cancel(task: "asyncio.Task[list[Outcome]]") -> bool:
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert blocked(store, admin, schema, cancel)
    assert store.value(COUNT) == 4
    assert waiting(admin) == []


def test_an_ingest_that_is_aborted_says_so_and_leaves_nothing(
    store: Store, admin: psycopg.Connection[Any], schema: str
) -> None:
    async def abort(task: "asyncio.Task[list[Outcome]]") -> list[Outcome]:
        store.engine.abort("not known")
        store.engine.abort("0" * 32)
        return await task

    (outcome,) = blocked(store, admin, schema, abort)
    assert type(outcome) is EngineError
    assert "was aborted" in str(outcome)
    assert store.value(COUNT) == 4


def test_a_request_that_takes_too_long_is_given_up(
    postgres: PostgresServer, store: Store, admin: psycopg.Connection[Any], schema: str
) -> None:
    hasty = open_store(postgres.url, schema_name=schema, timeout_s=1.5)

    async def wait(task: "asyncio.Task[list[Outcome]]") -> list[Outcome]:
        return await task

    (outcome,) = blocked(hasty, admin, schema, wait)
    assert isinstance(outcome, EngineUnavailable)
    assert "statement timeout" in str(outcome)
    assert hasty.value(COUNT) == 4
    hasty.close()


def test_a_server_that_hangs_is_given_up(
    postgres: PostgresServer, store: Store, admin: psycopg.Connection[Any], schema: str
) -> None:
    hasty = open_store(postgres.url, schema_name=schema, timeout_s=1.5)
    stopped: list[int] = []

    async def hang(task: "asyncio.Task[list[Outcome]]") -> list[Outcome]:
        stopped.extend(waiting(admin))
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        return await task

    try:
        (outcome,) = blocked(hasty, admin, schema, hang)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert isinstance(outcome, EngineUnavailable)
    assert "no answer in 1.5 s (timeout_s)" in str(outcome)
    assert hasty.value(COUNT) == 4
    hasty.close()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGQUIT])
def test_a_server_that_restarts_is_used_again(
    postgres: PostgresServer, store: Store, sign: signal.Signals
) -> None:
    postgres.stop(sign)
    try:
        (outcome,) = store.run(COUNT)
    finally:
        postgres.start()
    assert isinstance(outcome, EngineUnavailable)
    assert "Connection refused" in str(outcome)
    assert store.value(COUNT) == 4
    postgres.stop(sign)
    postgres.start()
    assert store.value(COUNT) == 4  # the connection that the server ended is not used again


def test_processes_that_write_at_once_lose_nothing(
    postgres: PostgresServer, store: Store, schema: str
) -> None:
    command = [sys.executable, str(WRITER), postgres.url, schema]
    processes = [subprocess.Popen([*command, str(me)]) for me in range(3)]
    assert [process.wait(300) for process in processes] == [0, 0, 0]
    shared = store.value(search("shared", mode="bm25", k=99))
    assert [doc.id for doc in shared] == ["shared"]
    assert store.value(COUNT) == 4 + 3 * 8 + 1


def test_two_first_users_of_a_schema_make_it_once(postgres: PostgresServer, schema: str) -> None:
    engines = [create(EngineSpec("store", postgres.url, {"schema_name": schema})) for _ in "abc"]

    async def start() -> None:
        await asyncio.gather(*(engine.start() for engine in engines))
        await asyncio.gather(*(engine.close() for engine in engines))

    asyncio.run(start())


def test_collections_are_apart(postgres: PostgresServer, store: Store, schema: str) -> None:
    name = 'x\'; DROP TABLE "rows_1"; -- %s {rows}'
    other = open_store(postgres.url, schema_name=schema, collection=name)
    assert other.value(COUNT) == 0
    other.run(ingest([Doc("x", "x")], np.ones((1, 5), np.float32)))  # another embedder
    assert other.value(COUNT) == 1
    assert store.value(COUNT) == 4
    other.close()


def test_what_is_written_stays(postgres: PostgresServer, store: Store, schema: str) -> None:
    index = store.value(ingest(CAPITALS[:2], PLANE[:2]))
    again = open_store(postgres.url, schema_name=schema)
    for request in (search("x", EAST), search("capital", EAST, index, mode="hybrid")):
        assert again.value(request) == store.value(request)
    again.run(ingest(CAPITALS, PLANE))
    again.close()
    with psycopg.connect(postgres.url) as conn:
        ((rows,),) = conn.execute(f'SELECT count(*) FROM "{schema}".rows_1').fetchall()
    assert rows == 4


def test_people_can_read_the_rows(
    store: Store, admin: psycopg.Connection[Any], schema: str
) -> None:
    query = f"SELECT text FROM \"{schema}\".rows_1 WHERE is_newest AND metadata ->> 'size' = '3'"
    assert admin.execute(query).fetchall() == [("Berlin is the capital of Germany",)]


def test_a_large_collection_gets_a_vector_index_that_finds_nearly_all(
    postgres: PostgresServer, admin: psycopg.Connection[Any], schema: str
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1200, 32)).astype(np.float32)
    docs = [Doc(f"text {i}", str(i), metadata={"n": i % 10}) for i in range(len(vectors))]
    indexed = open_store(postgres.url, schema_name=schema, index_above=1000)
    exact = open_store("local:")

    def indexes() -> list[str]:
        query = "SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND indexdef LIKE '%%hnsw%%'"
        return [definition for (definition,) in admin.execute(query, [schema]).fetchall()]

    indexed.run(ingest(docs[:1000], vectors[:1000]))
    assert indexes() == []
    request = search("", vectors[7], k=10)
    exact.run(ingest(docs[:1000], vectors[:1000]))
    assert indexed.value(request) == exact.value(request)
    for one in (indexed, exact):
        one.run(ingest(docs[1000:], vectors[1000:]))
    assert len(indexes()) == 1
    hits = 0
    for query in rng.normal(size=(30, 32)).astype(np.float32):
        for where in (None, {"n": 3}):
            request = search("", query, k=10, where=where)
            found = indexed.ids(request)
            assert len(found) == 10
            hits += len(set(found) & set(exact.ids(request)))
    print(f"recall at 10: {hits / 600:.3f}")
    assert hits / 600 > 0.9
    for one in (indexed, exact):
        one.close()


def test_long_vectors_are_indexed_by_half_their_bits(
    postgres: PostgresServer, admin: psycopg.Connection[Any], schema: str
) -> None:
    store = open_store(postgres.url, schema_name=schema, index_above=0)
    vectors = np.random.default_rng(0).normal(size=(20, 2100)).astype(np.float32)
    store.run(ingest([Doc(str(i), str(i)) for i in range(20)], vectors))
    query = "SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND indexdef LIKE '%%halfvec%%'"
    assert len(admin.execute(query, [schema]).fetchall()) == 1
    (found,) = store.value(search("", vectors[3], k=1))
    assert (found.id, found.score) == ("3", pytest.approx(1, abs=1e-6))
    store.close()


def test_an_index_that_was_not_finished_is_built_again(
    postgres: PostgresServer, store: Store, admin: psycopg.Connection[Any], schema: str
) -> None:
    def is_valid() -> tuple[Any, ...] | None:
        query = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
        return admin.execute(query, [f'"{schema}".rows_1_hnsw']).fetchone()

    again = open_store(postgres.url, schema_name=schema, index_above=1)
    again.run(ingest(CAPITALS, PLANE))
    assert is_valid() == (True,)
    again.close()
    query = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass"
    admin.execute(query, [f'"{schema}".rows_1_hnsw'])
    again = open_store(postgres.url, schema_name=schema, index_above=1)
    again.run(ingest(CAPITALS, PLANE))
    assert is_valid() == (True,)
    again.close()


@pytest.mark.parametrize("version", ["0.4.4", "0.7.4"])
def test_an_old_pgvector_says_what_to_run(version: str) -> None:
    with pytest.raises(EngineUnavailable, match="ALTER EXTENSION vector UPDATE"):
        check_version(version)
    check_version("0.8.0")
    check_version("1.0")


def test_what_no_column_can_hold_is_given_back_as_it_was(store: Store) -> None:
    docs = [
        Doc("nul \0 and half a pair \ud800", "id \0", metadata={"\0": "\udfff", "n": 1e22}),
        Doc("x" * 3_000_000, "y" * 20_000, metadata={"long": "z" * 1_000_000}),
        Doc(" ".join(f"word{i}" for i in range(200_000)), "words"),
        Doc("", "empty"),
    ]
    store.run(delete(all=True))
    index = store.value(ingest(docs, np.eye(4, 2, dtype=np.float32)))
    found = {doc.id: doc for doc in store.value(search("", EAST, index))}
    for doc in docs:
        assert found[doc.id].text == doc.text
        assert dict(found[doc.id].metadata) == dict(doc.metadata)
    assert store.ids(search("word777", mode="bm25")) == ["words"]
    assert store.value(delete(["id \0", "y" * 20_000])) == 2


def all_errors(kind: type[psycopg.Error]) -> Iterator[type[psycopg.Error]]:
    yield kind
    for below in kind.__subclasses__():
        yield from all_errors(below)


def test_every_error_of_psycopg_is_one_of_an_engine() -> None:
    kinds = set(all_errors(psycopg.Error))
    assert len(kinds) > 200
    for kind in kinds:
        with pytest.raises(EngineError, match="^database: reason"), mapped("database"):
            raise kind("reason")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (psycopg.errors.DiskFull, EngineOverloaded),
        (psycopg.errors.TooManyConnections, EngineOverloaded),
        (psycopg.errors.DeadlockDetected, EngineOverloaded),
        (psycopg.errors.ProgramLimitExceeded, RequestRejected),
        (psycopg.errors.DataException, RequestRejected),
        (psycopg.errors.AdminShutdown, EngineUnavailable),
        (psycopg.errors.InvalidPassword, EngineUnavailable),
        (psycopg.OperationalError, EngineUnavailable),
        (psycopg.errors.InternalError_, EngineError),
    ],
)
def test_an_error_says_whether_to_try_again(kind: Any, expected: type[EngineError]) -> None:
    with pytest.raises(EngineError) as caught, mapped("database"):
        raise kind("reason")
    assert type(caught.value) is expected


def test_a_closed_store_leaves_no_connection(
    postgres: PostgresServer, admin: psycopg.Connection[Any], schema: str
) -> None:
    store = open_store(postgres.url, schema_name=schema)
    store.run(*[COUNT] * 20)
    store.close()
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'teola'"
    for _ in range(100):
        if admin.execute(query).fetchone() == (0,):
            break
    assert admin.execute(query).fetchone() == (0,)
