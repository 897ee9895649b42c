"""A real vLLM, its CPU build, embeds and ranks with the default embedder as this process does."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest

from backends.base import Outcome, Request, Result
from backends.documents import Doc
from backends.errors import ConfigError, EngineUnavailable, RequestRejected, RequestTooLong
from backends.models.fetch import resolve
from backends.registry import EngineSpec, create
from teola.launching.environments import environment_of, install
from teola.launching.launch import start
from teola.launching.recipes import RECIPES, ServedModel, Settings

pytestmark = [pytest.mark.server, pytest.mark.model]

EMBEDDER = "local:all-minilm-l6-v2"
NAMES = count()
QUESTION = "Which planet is the largest?"
TEXTS = [
    "Jupiter is the largest planet of the solar system.",
    "Mars is red, and about half as wide as the Earth.",
    "",
    "Größe, 大きさ and 🍐 are words too.",
    "The largest moon of Saturn is Titan.",
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a server of the default embedder, pooled as it was trained."""
    try:
        python = install(environment_of("vllm", is_cpu=True), lambda _: None)
    except (ConfigError, EngineUnavailable) as error:
        pytest.skip(f"vLLM's CPU build cannot be installed here: {error}")
    recipe = replace(
        RECIPES["vllm"],
        flags=("--enforce-eager", "--disable-uvicorn-access-log"),
        variables={
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "HF_HUB_OFFLINE": "1",
        },
        kv_events=False,
    )
    model = ServedModel(str(resolve(EMBEDDER)), "minilm")
    pooling = ("--pooler-config", '{"pooling_type": "MEAN"}')
    settings = Settings(port=0, dtype="float32", extra=pooling)
    server = start(recipe, python, model, settings, lambda _: None, wait_s=400)
    yield server.record.url.removeprefix("vllm://").partition("/")[0]
    server.stop()


def outcomes(kind: Any, url: str, *requests: Request, **options: Any) -> list[Outcome]:
    async def main() -> list[Outcome]:
        engine = create(EngineSpec(kind, url, options))
        try:
            await engine.start()
            return await engine.execute(requests)
        finally:
            await engine.close()

    return asyncio.run(main())


def request(op: str, *inputs: Any, **attrs: Any) -> Request:
    return Request(f"{next(NAMES):032x}", op, inputs, attrs)


def output(outcome: Outcome) -> Any:
    assert isinstance(outcome, Result), outcome
    return outcome.outputs[0]


@pytest.mark.parametrize(
    ("scheme", "model"), [("vllm", ""), ("vllm", "minilm"), ("openai", "minilm")]
)
def test_vectors_are_those_of_the_engine_in_this_process(
    address: str, scheme: str, model: str
) -> None:
    requests = [request("embed", QUESTION), request("embed", TEXTS), request("embed", [])]

    here = outcomes("embedder", EMBEDDER, *requests, dtype="float32")
    there = outcomes("embedder", f"{scheme}://{address}/{model}", *requests, batch_size=4)

    for mine, theirs in zip(map(output, here), map(output, there), strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(theirs, mine, atol=2e-5)


def test_what_does_not_fit_fails_alone(address: str) -> None:
    requests = [request("embed", text) for text in ("fine", "word " * 3000, "fine too")]

    first, long, last = outcomes("embedder", f"vllm://{address}", *requests)

    assert output(first).shape == output(last).shape == (384,)
    assert isinstance(long, RequestTooLong)
    assert "maximum context length" in str(long)


def test_what_the_model_cannot_is_rejected_in_the_servers_words(address: str) -> None:
    (outcome,) = outcomes("embedder", f"vllm://{address}", request("embed", "x"), dimensions=64)

    assert isinstance(outcome, RequestRejected)
    assert "Matryoshka" in str(outcome)


def test_another_model_is_found_out_at_the_start(address: str) -> None:
    with pytest.raises(EngineUnavailable, match="no embedder 'other'; it has minilm"):
        outcomes("embedder", f"vllm://{address}/other", request("embed", "x"))


def test_passages_are_ranked_by_the_models_own_scores(address: str) -> None:
    """vLLM ranks by an embedder too: by the cosine of its vectors."""
    docs = [Doc(text, id=str(i)) for i, text in enumerate(TEXTS) if text]
    texts = [QUESTION, *(doc.text for doc in docs)]
    vectors = output(outcomes("embedder", EMBEDDER, request("embed", texts))[0])
    cosines = vectors[1:] @ vectors[0]

    (outcome,) = outcomes("reranker", f"vllm://{address}", request("rerank", QUESTION, docs, k=3))

    best = np.argsort(-cosines)[:3]
    assert [doc.id for doc in output(outcome)] == [docs[i].id for i in best]
    np.testing.assert_allclose([doc.score for doc in output(outcome)], cosines[best], atol=1e-4)
