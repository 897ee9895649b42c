"""Emulated engines: real cache and planner, emulated time, made-up answers."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from backends.base import Engine, FinishReason, Outcome, Request, Result, Turn
from backends.documents import Doc
from backends.emulated.llm import EmulatedLLM
from backends.emulated.recorder import Recorder
from backends.emulated.roofline import Rows
from backends.emulated.timeline import LoopTimer
from backends.errors import EngineError, EngineUnavailable, RequestRejected
from backends.llm.engine import LLMEngine
from backends.registry import EngineSpec, create
from runtime.clock import now, run_virtual

LLM = "emulated:h100/llama-3.1-8b"
PROMPT = "Name the seas of this earth, please. " * 20


def request(op: str, *inputs: Any, **attrs: Any) -> Request:
    return Request(uuid4().hex, op, inputs, attrs)


def result(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def make(url: str = LLM, kind: Any = "llm", **options: Any) -> Any:
    given = {"tokenizer": "bytes", **options} if kind == "llm" else options
    return create(EngineSpec(kind, url, given))


def on_virtual_clock(work: Callable[[Any], Awaitable[Any]], engine: Engine) -> Any:
    async def main() -> Any:
        await engine.start()
        try:
            return await work(engine)
        finally:
            await engine.close()

    return run_virtual(main())


async def prefilled(engine: Engine, text: str = PROMPT) -> Any:
    (outcome,) = await engine.execute([request("prefill", None, Turn("user"), text)])
    return result(outcome).outputs[0]


async def decoded(engine: Engine, *inputs: Any, **attrs: Any) -> Result:
    (outcome,) = await engine.execute([request("decode", *inputs, **attrs)])
    return result(outcome)


def test_a_decode_takes_the_time_of_its_steps() -> None:
    async def work(engine: EmulatedLLM) -> None:
        context = await prefilled(engine)
        began_s = now()
        done = await decoded(engine, context, max_tokens=10, ignore_eos=True)
        num_prompt = context.num_tokens
        steps_s = [engine._roofline.step_s([Rows(1, num_prompt + i)], 1) for i in range(10)]
        assert now() - began_s == pytest.approx(sum(steps_s))
        assert done.usage.decode_tokens == 10
        assert done.finish_reason == "length"

    on_virtual_clock(work, make())


def test_a_prompt_is_computed_in_chunks_of_the_budget() -> None:
    async def work(engine: EmulatedLLM) -> None:
        began_s = now()
        context = await prefilled(engine, "a" * 1000)
        total, at, expected = context.num_tokens - 1, 0, 0.0
        while at < total:
            rows = min(300, total - at)
            at += rows
            expected += engine._roofline.step_s([Rows(rows, at)], 0)
        assert now() - began_s == pytest.approx(expected)

    on_virtual_clock(work, make(token_budget=300))


def test_a_device_file_tells_the_sizes_of_engines_on_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    sizes = "token_budget = 24\nmax_running = 3\nkv_tokens = 640"
    path.write_text(
        f"peak_flops = {{ bfloat16 = 1e12 }}\nbandwidth_bytes_s = 1e11\nmemory_bytes = 4e9\n{sizes}"
    )

    def sizes_of(**options: Any) -> Any:
        engine = make(f"emulated:{path}/smollm2-135m", **options)

        async def ask(_: Any) -> Any:
            planner = engine._core.planner
            return planner.token_budget, planner.max_running, planner.cache.pool.num_tokens

        return on_virtual_clock(ask, engine)

    assert sizes_of() == (24, 3, 640)
    assert sizes_of(max_running=5, kv_tokens=320) == (24, 5, 320), "options go first"


def test_requests_run_in_the_same_steps() -> None:
    async def work(engine: EmulatedLLM) -> None:
        context = await prefilled(engine)
        attrs = {"max_tokens": 20, "ignore_eos": True}
        began_s = now()
        await decoded(engine, context, **attrs)
        alone_s = now() - began_s
        began_s = now()
        await engine.execute([request("decode", context, **attrs) for _ in range(16)])
        assert now() - began_s < 1.3 * alone_s

    on_virtual_clock(work, make())


def test_a_prompt_that_is_cached_is_not_computed_again() -> None:
    async def work(engine: EmulatedLLM) -> None:
        await prefilled(engine)
        began_s = now()
        (outcome,) = await engine.execute([request("prefill", None, Turn("user"), PROMPT)])
        usage = result(outcome).usage
        assert usage.cached_tokens > 30 * usage.prefill_tokens
        assert now() - began_s < 0.008
        assert engine.cache_stats().tree_pages > 0

    on_virtual_clock(work, make())


def test_texts_are_a_function_of_the_prompt() -> None:
    async def work(engine: EmulatedLLM) -> list[str]:
        context = await prefilled(engine)
        whole = await decoded(engine, None, Turn("user"), PROMPT, Turn("assistant"))
        split = await decoded(engine, context, Turn("assistant"))
        other = await decoded(engine, context, "!", Turn("assistant"))
        seeded = await decoded(engine, context, Turn("assistant"), temperature=1.0, seed=5)
        return [done.outputs[0] for done in (whole, split, other, seeded)]

    whole, split, other, seeded = on_virtual_clock(work, make())
    assert whole == split, "however the prompt is cut"
    assert len({whole, other, seeded}) == 3
    assert on_virtual_clock(work, make()) == [whole, split, other, seeded], "in every run"


def test_a_made_up_text_has_the_tokens_that_are_asked_for_at_least() -> None:
    async def work(engine: EmulatedLLM) -> None:
        done = await decoded(engine, None, PROMPT, min_tokens=20, max_tokens=50)
        assert 20 <= done.usage.decode_tokens <= 22

    on_virtual_clock(work, make(output_tokens=2))


@pytest.mark.parametrize("finish", ["length", "stop"])
def test_a_recorded_text_ends_as_it_did(tmp_path: Path, finish: FinishReason) -> None:
    path = tmp_path / "run.jsonl"
    recorder = Recorder(path)
    recorder(request("generate", PROMPT), Result(("one two",), finish_reason=finish))
    recorder.close()

    async def work(engine: EmulatedLLM) -> None:
        done = await decoded(engine, None, PROMPT)
        assert (done.outputs[0], done.finish_reason) == ("one two", finish)

    on_virtual_clock(work, make(recording=str(path)))


@pytest.mark.parametrize("kind", ["llm", "embedder"])
def test_an_engine_that_has_nothing_to_do_rests(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rests = []
    monkeypatch.setattr(LoopTimer, "rest", lambda _: rests.append("rest"))

    async def work(engine: Engine) -> None:
        if kind == "llm":
            await decoded(engine, None, "x", max_tokens=5)
        else:
            await engine.execute([request("embed", "x")])
        assert len(rests) == 1

    on_virtual_clock(work, make() if kind == "llm" else make("emulated:h100/bge-small", kind))


def test_output_tokens_sets_the_length_of_made_up_texts() -> None:
    async def work(engine: EmulatedLLM) -> None:
        done = await decoded(engine, None, PROMPT)
        assert done.usage.decode_tokens == 40
        assert done.finish_reason == "stop"
        cut = await decoded(engine, None, PROMPT, max_tokens=8)
        assert cut.usage.decode_tokens == 8
        assert cut.finish_reason == "length"

    on_virtual_clock(work, make(output_tokens=40))


def test_samples_of_one_decode_differ() -> None:
    async def work(engine: EmulatedLLM) -> None:
        texts, contexts = (await decoded(engine, None, PROMPT, n=3, temperature=1.0)).outputs
        assert len(set(texts)) == 3
        assert len(contexts) == 3

    on_virtual_clock(work, make())


SCHEMA = {
    "type": "object",
    "properties": {
        "queries": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 3},
        "count": {"type": "integer"},
        "kind": {"enum": ["a", "b"]},
        "inner": {"$ref": "#/$defs/Inner"},
    },
    "required": ["queries", "count", "kind", "inner"],
    "$defs": {
        "Inner": {
            "type": "object",
            "properties": {"is_it": {"type": "boolean"}, "n": {"type": "number"}},
            "required": ["is_it", "n"],
        }
    },
}


def test_structured_texts_keep_to_their_form() -> None:
    async def work(engine: EmulatedLLM) -> None:
        of_schema = await decoded(engine, None, PROMPT, schema=SCHEMA, max_tokens=2000)
        value = json.loads(of_schema.outputs[0])
        assert 2 <= len(value["queries"]) <= 3
        assert value["kind"] in ("a", "b")
        assert isinstance(value["inner"]["is_it"], bool)
        assert of_schema.usage.forced_tokens > 0, "the grammar writes what it leaves no choice in"
        of_pattern = await decoded(engine, None, PROMPT, regex=r"[a-c]{3}-\d+x")
        assert re.fullmatch(r"[a-c]{3}-\d+x", of_pattern.outputs[0])
        of_choices = await decoded(engine, None, PROMPT, choices=["red", "green", "red wine"])
        assert of_choices.outputs[0] in ("red", "green", "red wine")

    on_virtual_clock(work, make())


def test_a_grammar_that_nothing_was_made_up_for_ends_all_the_same() -> None:
    """The lookahead is beyond what the made-up text knows: the grammar leads out of it."""

    async def work(engine: EmulatedLLM) -> None:
        schema = {
            "type": "object",
            "properties": {"when": {"type": "string", "format": "date"}},
            "required": ["when"],
            "additionalProperties": False,
        }
        done = await decoded(engine, None, PROMPT, schema=schema, max_tokens=400)
        assert re.fullmatch(r'\{"when": "\d{4}-\d\d-\d\d"\}', done.outputs[0])

    on_virtual_clock(work, make())


def test_select_scores_choices() -> None:
    async def work(engine: EmulatedLLM) -> None:
        context = await prefilled(engine)
        (outcome,) = await engine.execute([request("select", context, ["yes", "no", "maybe"])])
        best, scores, _ = result(outcome).outputs
        assert best == ["yes", "no", "maybe"][scores.index(max(scores))]
        assert len(set(scores)) == 3

    on_virtual_clock(work, make())


def test_a_decode_is_streamed_piece_by_piece() -> None:
    async def work(engine: EmulatedLLM) -> None:
        told: list[tuple[float, str]] = []
        one = request("decode", None, PROMPT, max_tokens=12, ignore_eos=True)
        one.emit = lambda text: told.append((now(), text))
        (outcome,) = await engine.execute([one])
        assert "".join(text for _, text in told) == result(outcome).outputs[0]
        times = [at for at, _ in told]
        assert len(set(times)) == 12, "a step apart"

    on_virtual_clock(work, make())


def test_an_aborted_decode_ends_within_a_step() -> None:
    async def work(engine: EmulatedLLM) -> None:
        one = request("decode", None, PROMPT, max_tokens=1000, ignore_eos=True)
        running = asyncio.ensure_future(engine.execute([one]))
        await asyncio.sleep(0.1)
        began_s = now()
        engine.abort(one.id)
        (outcome,) = await running
        assert isinstance(outcome, EngineError)
        assert now() - began_s < 0.02

    on_virtual_clock(work, make())


def test_contexts_can_be_pinned() -> None:
    async def work(engine: EmulatedLLM) -> None:
        context = await prefilled(engine)
        assert await engine.pin(context) == context.num_tokens - 1
        assert engine.cache_stats().pinned_pages > 0

    on_virtual_clock(work, make())


def test_what_takes_real_weights_is_not_offered() -> None:
    async def work(engine: EmulatedLLM) -> None:
        assert not {"logprobs", "adapters"} & engine.info.capabilities
        (outcome,) = await engine.execute([request("decode", None, PROMPT, logprobs=1)])
        assert isinstance(outcome, RequestRejected)

    on_virtual_clock(work, make())


def test_requests_after_close_are_answered() -> None:
    async def main() -> None:
        engine = make()
        await engine.start()
        running = asyncio.ensure_future(
            engine.execute([request("decode", None, PROMPT, max_tokens=1000, ignore_eos=True)])
        )
        await asyncio.sleep(0.05)
        await engine.close()
        (outcome,) = await running
        assert isinstance(outcome, EngineError)
        (late,) = await engine.execute([request("decode", None, PROMPT)])
        assert isinstance(late, EngineError)

    run_virtual(main())


def test_hundreds_of_thousands_of_cached_tokens_take_little_time() -> None:
    async def work(engine: EmulatedLLM) -> None:
        contexts = [await prefilled(engine, f"{i}" + "b" * 30_000) for i in range(12)]
        assert sum(context.num_tokens for context in contexts) > 350_000
        assert engine.cache_stats().evicted_pages == 0
        engine._core.check_integrity()  # type: ignore[union-attr, attr-defined]

    began_s = time.perf_counter()
    on_virtual_clock(work, make())
    assert time.perf_counter() - began_s < 30


def test_engines_on_one_device_take_turns() -> None:
    async def duration(device: str) -> float:
        texts = ["The sea is deep. " * 20] * 256
        engines = [
            make("emulated:l4/bge-large", "embedder", device=device, budget_tokens=4096)
            for _ in range(2)
        ]
        for engine in engines:
            await engine.start()
        began_s = now()
        await asyncio.gather(*(engine.execute([request("embed", texts)]) for engine in engines))
        took_s = now() - began_s
        for engine in engines:
            await engine.close()
        return took_s

    assert run_virtual(duration("shared")) == pytest.approx(2 * run_virtual(duration("")))
    assert make(device="shared").info.device == "shared"
    assert make().info.device == ""


def test_embeddings_of_texts_with_common_words_are_near() -> None:
    async def work(engine: Engine) -> None:
        texts = ["the deep blue sea", "a deep sea, blue", "trees in a forest"]
        (outcome,) = await engine.execute([request("embed", texts)])
        rows = result(outcome).outputs[0]
        assert rows.shape == (3, 1024)
        assert rows.dtype == np.float32
        assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1, 1])
        assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.3

    on_virtual_clock(work, make("emulated:h100/bge-large", "embedder"))


def test_passages_with_the_words_of_the_query_rank_first() -> None:
    async def work(engine: Engine) -> None:
        docs = [Doc("trees are green"), Doc("the sea is blue"), Doc("blue")]
        (outcome,) = await engine.execute([request("rerank", "the blue sea", docs, k=2)])
        assert [doc.text for doc in result(outcome).outputs[0]] == ["the sea is blue", "blue"]

    on_virtual_clock(work, make("emulated:h100/bge-reranker-large", "reranker"))


def test_on_the_wall_clock_a_decode_takes_the_same_time_and_no_cpu() -> None:
    async def timed() -> tuple[float, float]:
        engine = make("emulated:l4/llama-3.1-8b")
        await engine.start()
        context = await prefilled(engine)
        began_s, cpu_s = now(), time.process_time()
        await decoded(engine, context, max_tokens=8, ignore_eos=True)
        took = now() - began_s, time.process_time() - cpu_s
        await engine.close()
        return took

    virtual_s, _ = run_virtual(timed())
    for _ in range(30):  # what else this machine does may disturb some
        took_s, cpu_s = asyncio.run(timed())
        assert took_s > 0.95 * virtual_s
        if took_s < 1.4 * virtual_s and cpu_s < 0.3 * took_s:
            return
    pytest.fail(f"it took {took_s} s, {cpu_s} s of them CPU time, and not {virtual_s} s")


def test_an_engine_in_real_time_does_not_start_on_a_virtual_clock() -> None:
    def load() -> Any:
        raise AssertionError("not loaded")

    async def main() -> None:
        await LLMEngine("local:some", 1, load).start()

    with pytest.raises(EngineUnavailable, match=r"local:some computes in real time.*emulated"):
        run_virtual(main())
