"""Embedders and rerankers at a server of teola's give what they give in this process."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest

import teola as tl
from backends.base import Request, Result
from backends.registry import EngineSpec, create
from teola.errors import EngineUnavailable
from teola.runner import default_runner

pytestmark = [pytest.mark.server, pytest.mark.model]

EMBEDDER, RERANKER = "all-minilm-l6-v2", "bert-mini-reranker"
NAMES = count()
QUESTION = "Which planet is the largest?"
TEXTS = [
    "Jupiter is the largest planet of the solar system.",
    "Mars is red, and about half as wide as the Earth.",
    "",
    "Bread is baked from flour, water and yeast. " * 40,
    "Größe, 大きさ and 🍐 are words too.",
    "The largest moon of Saturn is Titan.",
]
DOCS = [tl.Doc(text, id=str(i), metadata={"place": i}) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Iterator[Any]:
    words = ("fake:", "--embedder", f"local:{EMBEDDER}", "--reranker", f"local:{RERANKER}")
    with serve(*words, "--api-key", "secret") as process:
        yield process


@pytest.fixture
def at(server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server's address; the environment has its key."""
    monkeypatch.setenv("TEOLA_API_KEY", "secret")
    yield server.url.removeprefix("http://")
    default_runner().close()


def request(op: str, *inputs: Any, **attrs: Any) -> Request:
    return Request(f"{next(NAMES):032x}", op, inputs, attrs)


def results(kind: Any, url: str, *requests: Request, **options: Any) -> list[Any]:
    async def main() -> list[Any]:
        engine = create(EngineSpec(kind, url, options))
        await engine.start()
        try:
            outcomes = await engine.execute(requests)
        finally:
            await engine.close()
        assert all(isinstance(outcome, Result) for outcome in outcomes), outcomes
        return [outcome.outputs[0] for outcome in outcomes if isinstance(outcome, Result)]

    return asyncio.run(main())


@pytest.mark.parametrize("model", ["", f"/{EMBEDDER}"])
def test_vectors_are_those_of_the_engine_in_this_process(at: str, model: str) -> None:
    requests = [request("embed", QUESTION), request("embed", TEXTS), request("embed", [])]

    here = results("embedder", f"local:{EMBEDDER}", *requests)
    there = results("embedder", f"teola://{at}{model}", *requests, batch_size=4)

    for mine, theirs in zip(here, there, strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(theirs, mine, atol=2e-6)


@pytest.mark.parametrize("model", ["", f"/{RERANKER}"])
def test_scores_are_those_of_the_engine_in_this_process(at: str, model: str) -> None:
    requests = [request("rerank", QUESTION, DOCS), request("rerank", QUESTION, DOCS, k=2)]

    here = results("reranker", f"local:{RERANKER}", *requests)
    there = results("reranker", f"teola://{at}{model}", *requests)

    for mine, theirs in zip(here, there, strict=True):
        assert [(doc.id, doc.text, doc.metadata) for doc in mine] == [
            (doc.id, doc.text, doc.metadata) for doc in theirs
        ]
        np.testing.assert_allclose(
            [doc.score for doc in theirs], [doc.score for doc in mine], atol=2e-5
        )


def finder(embedder: str, reranker: str) -> Any:
    store = tl.Store("local:", embedder=tl.Embedder(embedder))
    rank = tl.Reranker(reranker)

    @tl.app
    def find(question: str) -> list[tl.Doc]:
        return rank(question, store.index(DOCS).search(question, k=4), k=2)

    return find


def test_an_app_finds_the_same_documents(at: str) -> None:
    here = finder(f"local:{EMBEDDER}", f"local:{RERANKER}")(QUESTION)
    there = finder(f"teola://{at}", f"teola://{at}/{RERANKER}")(QUESTION)

    assert [doc.id for doc in there] == [doc.id for doc in here]
    assert there[0].id == "0"


def test_a_wrong_key_names_its_variable(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEOLA_API_KEY", "wrong")

    with pytest.raises(EngineUnavailable, match="401.*TEOLA_API_KEY"):
        results("embedder", f"teola://{at}", request("embed", "x"))


def test_a_model_of_another_kind_is_not_taken_for_one(at: str) -> None:
    with pytest.raises(EngineUnavailable, match=f"no embedder {RERANKER!r}.*{EMBEDDER}"):
        results("embedder", f"teola://{at}/{RERANKER}", request("embed", "x"))
