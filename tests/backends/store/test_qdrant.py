"""A store in qdrant: in a folder, and behind its HTTP API with faults."""

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)
from qdrant_server import QdrantServer
from store_testing import CAPITALS, COUNT, EAST, PLANE, Store, delete, ingest, search

from backends.base import Request, Result
from backends.documents import Doc
from backends.errors import (
    ConfigError,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)
from backends.registry import EngineSpec, create
from backends.store.qdrant.address import read_address
from backends.store.qdrant.errors import mapped


def open_store(url: str, **options: Any) -> Store:
    return Store(create(EngineSpec("store", url, options)))


@pytest.fixture
def server() -> Iterator[QdrantServer]:
    made = QdrantServer()
    yield made
    made.stop()


@pytest.fixture
def store(server: QdrantServer) -> Iterator[Store]:
    opened = open_store(server.url, timeout_s=5)
    opened.run(ingest(CAPITALS, PLANE))
    yield opened
    opened.close()


def failure(store: Store, request: Request = COUNT) -> Exception:
    (outcome,) = store.run(request)
    assert isinstance(outcome, EngineError), outcome
    return outcome


def test_a_server_answers_as_qdrant_in_this_process_does(store: Store) -> None:
    local = open_store("qdrant:memory", collection="docs")
    index = local.value(ingest(CAPITALS, PLANE))
    assert store.value(ingest(CAPITALS, PLANE)) == index
    for one in (store, local):
        one.run(ingest([Doc("Lyon is in France", "fr")], EAST[None]), delete(["jp"]))
    for mode in ("vector", "bm25", "hybrid"):
        for scope in (None, index):
            for where in (None, {"size": {"ge": 2}}, {"continent": {"lt": "b"}}):
                request = search("capital France", EAST, scope, mode=mode, where=where)
                assert store.value(request) == local.value(request)
    assert store.value(COUNT) == local.value(COUNT) == 3
    local.close()


def test_words_are_weighed_as_bm25_does_with_a_fixed_average() -> None:
    store = open_store("qdrant:memory", average_words=10)
    store.run(ingest([Doc("apple apple pear", "a"), Doc("pear", "p")]))
    (found,) = store.value(search("apple", mode="bm25"))
    weight = 2 / (1.5 * (0.25 + 0.75 * 3 / 10) + 2)
    assert found.score == pytest.approx(math.log(1 + 1.5 / 1.5) * weight, rel=1e-5)
    store.close()


def test_documents_in_a_folder_stay(tmp_path: Path) -> None:
    url = f"qdrant:{tmp_path / 'folder'}"
    first = open_store(url)
    index = first.value(ingest(CAPITALS, PLANE))
    request = search("capital", EAST, index, mode="hybrid")
    before = first.value(request)
    with pytest.raises(EngineUnavailable, match="folder"):
        open_store(url)
    first.close()
    second = open_store(url)
    assert second.value(COUNT) == 4
    assert second.value(request) == before
    second.close()


def test_documents_get_vectors_after_others_came_without() -> None:
    store = open_store("qdrant:memory")
    store.run(ingest([Doc("bare", "bare")]))
    store.run(ingest(CAPITALS, PLANE))
    assert store.ids(search("", EAST, k=1)) == ["fr"]
    store.close()


def test_points_have_the_same_ids_in_every_process(server: QdrantServer, store: Store) -> None:
    again = open_store(server.url)
    again.run(ingest(CAPITALS, PLANE))
    assert server.client.count("docs").count == server.client.count("docs.rows").count == 4
    assert again.value(COUNT) == 4
    again.close()


def test_an_unchanged_document_is_not_written_again(server: QdrantServer, store: Store) -> None:
    server.seen.clear()
    store.run(ingest(CAPITALS, PLANE))
    assert not [call for call in server.seen if call.startswith("PUT")]


def test_long_texts_are_sent_in_parts(server: QdrantServer, store: Store) -> None:
    server.seen.clear()
    docs = [Doc("x" * 1_500_000, f"long {i}") for i in range(4)]
    store.run(ingest(docs, PLANE))
    assert store.value(COUNT) == 8
    assert server.seen.count("PUT /collections/docs/points") == 4


def test_the_key_comes_from_the_environment_and_is_never_shown(
    server: QdrantServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.api_key = "a secret key"
    with pytest.raises(EngineUnavailable, match="401.*set QDRANT_API_KEY"):
        open_store(server.url)
    monkeypatch.setenv("QDRANT_API_KEY", "a secret key")
    store = open_store(server.url)
    assert store.value(COUNT) == 0
    assert "a secret key" not in repr(vars(store.engine)) + repr(store.engine.info)
    monkeypatch.setenv("QDRANT_API_KEY", "wrong")
    with pytest.raises(EngineUnavailable) as caught:
        open_store(server.url)
    assert "wrong" not in str(caught.value)
    store.close()


def test_a_key_is_not_sent_to_a_far_server_without_encryption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "key")
    with pytest.raises(ConfigError, match=r"write qdrant\+https://"):
        create(EngineSpec("store", "qdrant://db.example.com:6333/docs"))
    create(EngineSpec("store", "qdrant+https://db.example.com:6333/docs"))


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("qdrant://localhost/docs", "http://localhost:6333"),
        ("qdrant://10.0.0.3:7000/docs", "http://10.0.0.3:7000"),
        ("qdrant://db.example.com/docs", "https://db.example.com:6333"),
        ("qdrant://db.example.com:6333/docs", "http://db.example.com:6333"),
        ("qdrant://db.example.com:6333/docs?tls=1", "https://db.example.com:6333"),
        ("qdrant+https://localhost/docs", "https://localhost:6333"),
    ],
)
def test_a_url_says_where_and_how(url: str, root: str) -> None:
    address = read_address(url, "NO_SUCH_KEY")
    assert (address.root, address.collection) == (root, "docs")


@pytest.mark.parametrize("url", ["qdrant://", "qdrant://h:port/x", "qdrant://h/x?y=1"])
def test_another_url_names_the_forms(url: str) -> None:
    with pytest.raises(ConfigError, match="qdrant:memory"):
        create(EngineSpec("store", url))


def test_a_server_that_is_not_there_is_named(server: QdrantServer) -> None:
    url = server.url
    server.stop()
    with pytest.raises(EngineUnavailable, match="qdrant://127.0.0.1"):
        open_store(url)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRejected),
        (404, EngineUnavailable),
        (413, RequestTooLong),
        (429, EngineOverloaded),
        (500, EngineError),
        (503, EngineUnavailable),
    ],
)
def test_a_status_says_whether_to_try_again(
    server: QdrantServer, store: Store, status: int, kind: type[EngineError]
) -> None:
    server.faults = [lambda _: (status, {"status": {"error": "the reason"}})]
    error = failure(store)
    assert type(error) is kind
    assert ("try again in 7 s" if status == 429 else "the reason") in str(error)
    assert store.value(COUNT) == 4


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"result": {"count": "many"}}'])
def test_an_answer_that_is_not_qdrants_is_an_error(
    server: QdrantServer, store: Store, content: bytes
) -> None:
    server.faults = [lambda _: (200, content)]
    assert "qdrant://127.0.0.1" in str(failure(store))
    assert store.value(COUNT) == 4


def test_a_connection_that_breaks_is_made_again(server: QdrantServer, store: Store) -> None:
    server.faults = [lambda _: None]
    assert store.value(COUNT) == 4
    server.faults = [lambda _: None] * 3
    assert isinstance(failure(store), EngineUnavailable)
    assert store.value(COUNT) == 4


def test_a_server_that_is_silent_is_given_up(server: QdrantServer) -> None:
    store = open_store(server.url, timeout_s=2)
    server.faults = [lambda _: server.released.wait(20) or None]
    error = failure(store)
    assert isinstance(error, EngineUnavailable)
    assert "timeout_s" in str(error)
    assert store.value(COUNT) == 0
    store.close()


def test_a_server_that_restarts_is_used_again(server: QdrantServer, store: Store) -> None:
    server.stop()
    assert isinstance(failure(store), EngineUnavailable)
    again = QdrantServer(server.port, server.client)
    assert store.value(COUNT) == 4
    again.stop()


def test_an_ingest_that_is_cancelled_is_made_whole_or_not_at_all(
    server: QdrantServer, store: Store
) -> None:
    docs = [Doc("x" * 1_500_000 + str(i), f"long {i}") for i in range(6)]
    vectors = np.ones((6, 2), np.float32)

    async def cancel(at: str) -> None:
        server.seen.clear()
        task = asyncio.ensure_future(store.engine.execute([ingest(docs, vectors)]))
        while at not in server.seen:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])

    store.loop.run(cancel("PUT /collections/docs.rows/points"))
    assert store.value(COUNT) == 4
    store.loop.run(cancel("PUT /collections/docs/points"))
    assert store.value(COUNT) == 10


def test_every_error_of_the_client_is_one_of_an_engine() -> None:
    request = httpx.Request("GET", "http://x")
    kinds = [
        kind
        for kind in vars(httpx).values()
        if isinstance(kind, type) and issubclass(kind, httpx.RequestError)
    ]
    errors: list[Exception] = [
        ResponseHandlingException(kind("why", request=request)) for kind in kinds
    ]
    errors += [ApiException("why"), QdrantException("why"), ResourceExhaustedResponse("why", 3)]
    errors += [UnexpectedResponse(418, "why", b"why", httpx.Headers())]
    errors += [OSError("why"), ValueError("why"), RuntimeError("why"), AssertionError("why")]
    assert len(kinds) > 15
    for error in errors:
        with pytest.raises(EngineError, match="^the server"), mapped("the server"):
            raise error


def test_a_batch_answers_each_request(store: Store) -> None:
    good, bad = store.run(search("x", EAST), search("x", np.ones(3, np.float32)))
    assert isinstance(good, Result)
    assert isinstance(bad, RequestRejected)


def test_two_stores_that_write_at_once_leave_one_newest_of_each_id(server: QdrantServer) -> None:
    engines = [create(EngineSpec("store", server.url)) for _ in "ab"]

    async def write() -> list[int]:
        for engine in engines:
            await engine.start()
        for turn in range(5):
            batches = [
                ingest(
                    [Doc(f"shared {me} {turn}", "shared"), Doc("own", f"{me}.{turn}")], PLANE[:2]
                )
                for me in range(2)
            ]
            pairs = zip(engines, batches, strict=True)
            await asyncio.gather(*(engine.execute([one]) for engine, one in pairs))
        counts = [(await engine.execute([COUNT]))[0] for engine in engines]
        for engine in engines:
            await engine.close()
        return [count.outputs[0] for count in counts if isinstance(count, Result)]

    assert asyncio.run(write()) == [11, 11]
