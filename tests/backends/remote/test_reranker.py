"""Rerankers that are servers: requests in each server's shape, answers checked."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from fault_server import Answer, FaultServer, Seen, as_json, failing, nothing_left, put_forward

from backends.base import Outcome, Request, Result, Usage
from backends.documents import Doc
from backends.errors import ConfigError, EngineError, RequestRejected
from backends.registry import EngineSpec, create

NAMES = count()
DOCS = [Doc("xx", id="two"), Doc("xxxx", metadata={"page": 4}), Doc("x"), Doc("xxx")]


def request(query: Any, docs: Any, **attrs: Any) -> Request:
    return Request(f"{next(NAMES):032x}", "rerank", (query, docs), attrs)


def scores(seen: Seen) -> list[tuple[int, float]]:
    """Longer is better; best first."""
    found = [(i, len(text) / 10) for i, text in enumerate(seen.body["documents"])]
    return sorted(found, key=lambda pair: -pair[1])


def in_coheres_shape(seen: Seen) -> Answer:
    return as_json({"results": [{"index": i, "relevance_score": s} for i, s in scores(seen)]})


def in_voyages_shape(seen: Seen) -> Answer:
    return as_json({"data": [{"index": i, "relevance_score": s} for i, s in scores(seen)]})


def in_sglangs_shape(seen: Seen) -> Answer:
    return as_json([{"index": i, "score": s, "document": None} for i, s in scores(seen)])


def with_models(reply: Callable[[Seen], Answer]) -> Callable[[Seen], Answer]:
    models = as_json({"data": [{"id": "m"}]})
    return lambda seen: models if seen.path == "/v1/models" else reply(seen)


def outcomes_of(
    server: FaultServer, *requests: Request, scheme: str = "openai", **options: Any
) -> list[Outcome]:
    async def main() -> list[Outcome]:
        async with asyncio.timeout(60), nothing_left(), server:
            engine = create(EngineSpec("reranker", server.url(scheme), options))
            await engine.start()
            try:
                return await engine.execute(requests)
            finally:
                await engine.close()

    return asyncio.run(main())


def texts(outcome: Outcome) -> Sequence[str]:
    assert isinstance(outcome, Result), outcome
    return [doc.text for doc in outcome.outputs[0]]


@pytest.mark.parametrize(
    ("scheme", "reply"),
    [
        ("openai", in_coheres_shape),
        ("openai", in_voyages_shape),
        ("vllm", in_coheres_shape),
        ("teola", in_coheres_shape),
        ("sglang", in_sglangs_shape),
    ],
)
def test_every_server_is_asked_in_its_shape(scheme: str, reply: Callable[[Seen], Answer]) -> None:
    server = FaultServer(with_models(reply))

    (outcome,) = outcomes_of(server, request("which?", DOCS), scheme=scheme)

    seen = server.seen[-1]
    assert (seen.method, seen.path) == ("POST", "/v1/rerank")
    assert seen.body == {
        "model": "m",
        "query": "which?",
        "documents": ["xx", "xxxx", "x", "xxx"],
        "return_documents": False,
    }
    assert isinstance(outcome, Result)
    assert outcome.outputs[0] == [
        Doc("xxxx", "", 0.4, {"page": 4}),
        Doc("xxx", "", 0.3),
        Doc("xx", "two", 0.2),
        Doc("x", "", 0.1),
    ]
    assert outcome.usage == Usage(num_items=4)


def test_k_cuts_and_no_documents_need_no_call() -> None:
    server = FaultServer(in_coheres_shape)

    two, none, zero = outcomes_of(
        server, request("q", DOCS, k=2), request("q", []), request("q", DOCS, k=0)
    )

    assert texts(two) == ["xxxx", "xxx"]
    assert (texts(none), texts(zero)) == ([], [])
    assert len(server.seen) == 2


def test_equal_scores_keep_the_order_of_the_documents() -> None:
    docs = [Doc("ab"), Doc("cd"), Doc("xyz"), Doc("ef")]

    (outcome,) = outcomes_of(FaultServer(in_coheres_shape), request("q", docs))

    assert texts(outcome) == ["xyz", "ab", "cd", "ef"]


def test_many_documents_are_cut_over_several_calls() -> None:
    server = FaultServer(in_coheres_shape)

    (outcome,) = outcomes_of(server, request("q", DOCS), batch_size=3)

    assert texts(outcome) == ["xxxx", "xxx", "xx", "x"]
    assert sorted(len(seen.body["documents"]) for seen in server.seen) == [1, 3]


def test_a_bad_request_harms_no_other() -> None:
    def answer(seen: Seen) -> Answer:
        return failing(400, "no") if seen.body["query"] == "bad" else in_coheres_shape(seen)

    good, bad, wrong = outcomes_of(
        FaultServer(answer), request("q", DOCS), request("bad", DOCS), request(5, DOCS)
    )

    assert len(texts(good)) == 4
    assert isinstance(bad, RequestRejected)
    assert isinstance(wrong, RequestRejected)


def test_a_server_with_the_older_path_only_is_asked_there_from_then_on() -> None:
    def answer(seen: Seen) -> Answer:
        return in_coheres_shape(seen) if seen.path == "/rerank" else failing(404)

    server = FaultServer(answer)

    async def main() -> None:
        async with asyncio.timeout(60), nothing_left(), server:
            engine = create(EngineSpec("reranker", server.url()))
            await engine.start()
            await engine.execute([request("q", DOCS)])
            await engine.execute([request("q", DOCS)])
            await engine.close()

    asyncio.run(main())
    assert [seen.path for seen in server.seen] == ["/v1/rerank", "/rerank", "/rerank"]


def test_a_server_without_reranking_says_so_for_the_first_path() -> None:
    (outcome,) = outcomes_of(FaultServer(failing(404, "Not Found")), request("q", DOCS))

    assert isinstance(outcome, RequestRejected)
    assert "/v1/rerank: 404: Not Found" in str(outcome)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"results": [{"index": 0, "relevance_score": 1.0}]}, "4 documents were sent"),
        ({"results": [{"index": 9, "relevance_score": 1.0}] * 4}, "4 documents were sent"),
        ({"results": [{"index": 0}]}, "has no score"),
        ({"results": [{"index": 0, "relevance_score": "high"}]}, "has no score"),
        ({"results": ["x"]}, "has no score"),
        ({"results": [{"index": [0], "relevance_score": 1.0}]}, "unhashable"),
        ({"results": [{"index": 0, "relevance_score": 10**400}]}, "OverflowError"),
        ({"results": None}, "holds no scores"),
        ("x", "holds no scores"),
        (None, "holds no scores"),
    ],
)
def test_an_answer_without_the_scores_is_an_error(body: Any, words: str) -> None:
    (outcome,) = outcomes_of(FaultServer(as_json(body)), request("q", DOCS))

    assert type(outcome) is EngineError
    assert words in str(outcome)


def test_ollama_has_no_rerankers() -> None:
    with pytest.raises(ConfigError, match="Ollama serves no rerankers; use local:"):
        create(EngineSpec("reranker", "ollama://localhost/m"))


def test_calls_that_wait_for_others_of_their_request_are_not_late() -> None:
    def slow(seen: Seen) -> Answer:
        put_forward(0.5)
        return in_coheres_shape(seen)

    docs = [Doc("x" * n) for n in range(60)]
    one_by_one = {"batch_size": 1, "concurrency": 2, "timeout_s": 10.0, "retries": 0}

    (outcome,) = outcomes_of(FaultServer(slow), request("q", docs), **one_by_one)

    assert len(texts(outcome)) == 60
