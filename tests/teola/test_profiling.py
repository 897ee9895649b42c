"""Profiling a fake engine under the virtual clock gives back the latencies it was made with."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from backends.base import Engine, EngineInfo, Outcome, Request
from backends.errors import ConfigError, EngineError
from backends.fake.llm import FakeLLM
from backends.fake.retrieval import FakeEmbedder, FakeReranker, FakeStore
from backends.registry import EngineSpec
from runtime.clock import run_virtual
from runtime.cost.latency import LatencyModel
from teola.profiling.measuring import profile_engine, profile_spec


def texts(value: Any) -> list[str]:
    return [getattr(item, "text", item) for item in (value if isinstance(value, list) else [value])]


class SlowEmbedder(FakeEmbedder):
    """10 ms a batch, 1 ms a text and 10 us a character; beyond 16 texts nothing is gained."""

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        all_texts = [text for request in requests for text in texts(request.inputs[0])]
        batches = -(-len(all_texts) // 16)
        await asyncio.sleep(0.010 * batches + sum(0.001 + 1e-5 * len(t) for t in all_texts))
        return await super().execute(requests)


class SlowReranker(FakeReranker):
    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        await asyncio.sleep(sum(0.004 * len(request.inputs[1]) for request in requests))
        return await super().execute(requests)


class SlowStore(FakeStore):
    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        for request in requests:
            is_ingest = request.op == "ingest"
            await asyncio.sleep(1e-3 * len(request.inputs[0]) if is_ingest else 0.005)
        return await super().execute(requests)


class GrowingLLM(FakeLLM):
    """Like a real one, it says how much it may hold; its replies are long."""

    @property
    def info(self) -> EngineInfo:
        known = super().info
        return EngineInfo(
            "llm", "fake", num_slots=8, capabilities=known.capabilities, max_context_tokens=4096
        )


def measured(engine: Engine, budget_s: float = 1000.0) -> LatencyModel:
    return run_virtual(profile_engine(engine, budget_s))


def test_an_embedders_latencies_and_its_largest_batch_that_pays_are_found() -> None:
    model = measured(SlowEmbedder("fake:", {}))

    for num_texts, num_chars in [(1, 100), (3, 100), (8, 800), (12, 600), (32, 1600)]:
        batches = -(-num_texts // 16)
        wanted = 0.010 * batches + num_texts * (0.001 + 1e-5 * num_chars)
        assert model.seconds("embed", num_texts, num_chars) == pytest.approx(wanted, rel=0.02)
    assert model.efficient_batch("embed") == 16


def test_a_rerankers_latencies_are_found() -> None:
    model = measured(SlowReranker("fake:", {}))

    assert model.seconds("rerank", 5, 800) == pytest.approx(0.020)
    assert model.efficient_batch("rerank") == 1


def test_a_stores_latencies_are_found() -> None:
    model = measured(SlowStore("fake:", {}))

    assert model.seconds("ingest", 48) == pytest.approx(0.048)
    assert model.seconds("search", 3, 1000) == pytest.approx(0.015)


def test_a_language_models_latencies_are_found() -> None:
    long = {"": "word " * 40}
    model = measured(
        GrowingLLM("fake:", {"token_s": 0.02, "prefill_token_s": 0.001, "replies": long})
    )

    assert model.seconds("prefill", 100) == pytest.approx(0.1)
    assert model.seconds("prefill", 100, 500) == pytest.approx(0.1)
    assert model.seconds("decode", 1, 100) == pytest.approx(0.02)
    assert model.seconds("decode", 4, 100) == pytest.approx(0.08)  # the fake runs one by one


def test_prompts_that_could_stay_with_the_client_are_computed_to_be_measured() -> None:
    options = {"token_s": 0.02, "prefill_token_s": 0.001, "replies": {"": "word " * 40}}
    model = measured(GrowingLLM("fake:vllm", options))

    assert model.seconds("prefill", 100) == pytest.approx(0.1, rel=0.05)
    assert model.seconds("decode", 1, 100) == pytest.approx(0.02, rel=0.05)


def test_contexts_are_given_back() -> None:
    engine = GrowingLLM("fake:", {"token_s": 0.02, "prefill_token_s": 0.001})
    measured(engine)

    assert engine.num_live_contexts == 0


def test_a_small_budget_is_nearly_kept_and_still_gives_every_op() -> None:
    async def main() -> tuple[float, LatencyModel]:
        loop = asyncio.get_running_loop()
        model = await profile_engine(SlowEmbedder("fake:", {}), 0.2)
        return loop.time(), model

    took_s, model = run_virtual(main())

    assert took_s < 0.5
    assert model.seconds("embed", 1, 800) == pytest.approx(0.019, rel=0.02)


def test_points_are_told_as_they_are_measured() -> None:
    points: list[Any] = []
    run_virtual(profile_engine(SlowReranker("fake:", {}), 1000.0, points.append))

    assert (points[0].op, points[0].size, points[0].length) == ("rerank", 1, 400)
    assert points[0].seconds == pytest.approx(0.004)


def test_a_failure_of_the_engine_is_the_commands() -> None:
    with pytest.raises(EngineError, match="profiling embed failed: no"):
        measured(FakeEmbedder("fake:", {"fail": {"embed": "no"}}))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (EngineSpec("python", "python:"), "python engines are not profiled"),
        (EngineSpec("store", "remote:x"), "synthetic documents would be written"),
    ],
)
def test_what_must_not_be_profiled_is_refused(spec: EngineSpec, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        asyncio.run(profile_spec(spec))


def test_a_store_in_a_folder_is_not_written_to(tmp_path: Path) -> None:
    pytest.importorskip("bm25s")
    spec = EngineSpec("store", f"local:{tmp_path / 'mine'}")
    profile = asyncio.run(profile_spec(spec, 0.1))

    assert not (tmp_path / "mine").exists()
    assert profile.key.model == "local:FOLDER"


@pytest.mark.model
def test_the_real_embedder_is_profiled_within_a_tiny_budget() -> None:
    profile = asyncio.run(profile_spec(EngineSpec("embedder", "local:all-minilm-l6-v2"), 0.5))

    one, eight = (profile.model.seconds("embed", size, 400) for size in (1, 8))
    assert 0 < one <= eight
    assert profile.took_s < 30
