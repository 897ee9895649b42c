"""SGLang's engine in this process: against a stand-in with its signatures, and on a GPU."""

import asyncio
import inspect
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import sglang_stand_in
from sglang_stand_in import END, RECORD, HTTPException, write_model

from backends.base import Engine, Outcome, Request, Result, Turn
from backends.errors import (
    ConfigError,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)
from backends.llm.requests.prompt_encoder import open_prompts
from backends.registry import EngineSpec, create

PROMPT = (Turn("user"), "Hi, ", "you", Turn("assistant"))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made = sglang_stand_in.Engine
    monkeypatch.setattr(made, "made", [])
    monkeypatch.setattr(made, "fails_with", None)
    monkeypatch.setattr(made, "hangs", False)
    monkeypatch.setitem(sys.modules, "sglang", SimpleNamespace(Engine=made))
    yield made
    assert all(engine.num_shutdowns == 1 for engine in made.made)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


async def one(engine: Engine, op: str, *inputs: Any, **attrs: Any) -> Outcome:
    (outcome,) = await engine.execute([Request(uuid4().hex, op, inputs, attrs)])
    return outcome


def outcome_of(model: Path, op: str, *inputs: Any, **attrs: Any) -> Outcome:
    found: list[Outcome] = []

    async def main() -> None:
        engine = create(EngineSpec("llm", f"sglang:{model}"))
        try:
            await engine.start()
            found.append(await one(engine, op, *inputs, **attrs))
        finally:
            await engine.close()

    run(main())
    return found[0]


def signature_of(function: Any) -> list[list[str]]:
    return [
        [p.name, p.kind.description, "required" if p.default is p.empty else repr(p.default)]
        for p in inspect.signature(function).parameters.values()
        if p.name != "self"
    ]


@pytest.mark.parametrize("name", list(RECORD["methods"]))
def test_the_stand_in_has_the_signatures_of_the_released_engine(name: str) -> None:
    method = getattr(sglang_stand_in.Engine, name)
    assert signature_of(method) == RECORD["methods"][name]["parameters"]
    assert inspect.iscoroutinefunction(method) == RECORD["methods"][name]["is_async"]


def test_the_stand_in_aborts_by_the_released_signature() -> None:
    manager = sglang_stand_in.TokenizerManager
    assert signature_of(manager.abort_request) == RECORD["abort_request"]


def test_a_prompt_goes_in_as_the_ids_of_its_parts(stand_in: Any, model: Path) -> None:
    result = outcome_of(model, "generate", *PROMPT, temperature=0.5, top_k=3, max_tokens=50)
    assert isinstance(result, Result), result
    assert result.outputs == ("Hello there.",)
    assert result.finish_reason == "stop"
    (engine,) = stand_in.made
    (call,) = engine.calls
    assert call["input_ids"] == open_prompts(model).encode(PROMPT, (), None)[0]
    assert (call["temperature"], call["top_k"], call["max_new_tokens"]) == (0.5, 3, 50)
    assert END in call["stop_token_ids"]
    assert engine.args == {"model_path": str(model)}


def test_a_stream_emits_what_is_new_of_cumulative_events(stand_in: Any, model: Path) -> None:
    async def main() -> None:
        engine = create(EngineSpec("llm", f"sglang:{model}"))
        await engine.start()
        pieces: list[str] = []
        request = Request(uuid4().hex, "generate", PROMPT, emit=pieces.append)
        (outcome,) = await engine.execute([request])
        assert isinstance(outcome, Result), outcome
        assert "".join(pieces) == "Hello there."
        assert len(pieces) > 3
        await engine.close()

    run(main())


def test_a_prefill_ahead_computes_the_prompt_and_its_decode_finds_it(
    stand_in: Any, model: Path
) -> None:
    async def main() -> None:
        engine = create(EngineSpec("llm", f"sglang:{model}"))
        await engine.start()
        warm = await one(engine, "prefill", None, *PROMPT, ahead=True)
        assert isinstance(warm, Result), warm
        assert stand_in.made[0].calls[-1]["max_new_tokens"] == 0
        said = await one(engine, "decode", warm.outputs[0], "And ")
        assert isinstance(said, Result), said
        assert said.usage.cached_tokens == warm.outputs[0].num_tokens
        await engine.close()

    run(main())


def test_choices_are_scored_by_the_log_probabilities_of_their_tokens(
    stand_in: Any, model: Path
) -> None:
    async def main() -> None:
        engine = create(EngineSpec("llm", f"sglang:{model}"))
        await engine.start()
        context = await one(engine, "prefill", None, *PROMPT)
        assert isinstance(context, Result), context
        found = await one(engine, "select", context.outputs[0], ["ab", "c"], score="sum")
        assert isinstance(found, Result), found
        ids = open_prompts(model).tokenizer.encode_text
        wanted = [sum(-(i % 7) / 10 for i in ids(choice)) for choice in ("ab", "c")]
        assert found.outputs[1] == pytest.approx(wanted)
        await engine.close()

    run(main())


@pytest.mark.parametrize("is_cancelled", [False, True])
@pytest.mark.parametrize("streams", [False, True])
def test_what_is_aborted_or_cancelled_ends_at_the_engine(
    stand_in: Any, model: Path, streams: bool, is_cancelled: bool
) -> None:
    async def main() -> None:
        stand_in.hangs = True
        engine = create(EngineSpec("llm", f"sglang:{model}"))
        await engine.start()
        emit = (lambda piece: None) if streams else None
        request = Request(uuid4().hex, "generate", PROMPT, emit=emit)
        running = asyncio.create_task(engine.execute([request]))
        manager = stand_in.made[0].tokenizer_manager
        while not manager.running:
            await asyncio.sleep(0)
        if is_cancelled:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        else:
            engine.abort(request.id)
            (outcome,) = await running
            assert isinstance(outcome, EngineError)
        await engine.close()
        assert request.id in manager.aborted
        assert not manager.running

    run(main())


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ValueError("The input (9 tokens) is longer than the model's context length (8 tokens)."),
         RequestTooLong),
        (ValueError("json_schema is broken"), RequestRejected),
        (HTTPException(503, "The request queue is full."), EngineOverloaded),
        (HTTPException(500, "CUDA error"), EngineError),
        (RuntimeError("scheduler died"), EngineError),
    ],
)  # fmt: skip
def test_what_the_engine_raises_has_the_meaning_of_its_servers_status(
    stand_in: Any, model: Path, raised: Exception, kind: type[EngineError]
) -> None:
    stand_in.fails_with = raised
    outcome = outcome_of(model, "generate", *PROMPT)
    assert type(outcome) is kind, outcome
    assert f"sglang:{model}" in str(outcome)


def test_the_engine_takes_sglangs_own_arguments_and_says_which_are_wrong(
    stand_in: Any, model: Path
) -> None:
    async def main() -> None:
        args = {"mem_fraction_static": 0.7, "context_length": 64}
        engine = create(EngineSpec("llm", f"sglang:{model}", {"engine_args": args}))
        await engine.start()
        assert stand_in.made[0].args == {"model_path": str(model), **args}
        assert engine.info.max_context_tokens == 64
        long = await one(engine, "generate", *PROMPT, "word " * 20)
        assert isinstance(long, RequestTooLong)
        await engine.close()
        wrong = create(EngineSpec("llm", f"sglang:{model}", {"engine_args": {"colour": 1}}))
        with pytest.raises(EngineUnavailable, match="'colour'"):
            await wrong.start()
        await wrong.close()

    run(main())


def test_the_engine_is_shut_down_once(stand_in: Any, model: Path) -> None:
    async def main() -> None:
        engine = create(EngineSpec("llm", f"sglang:{model}"))
        await engine.start()
        await engine.start()
        await engine.close()
        await engine.close()
        assert len(stand_in.made) == 1
        with pytest.raises(EngineError):
            await engine.start()

    run(main())


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sglang", None)

    async def main() -> None:
        engine = create(EngineSpec("llm", f"sglang:{model}"))
        with pytest.raises(EngineUnavailable, match=r'pip install "teola\[sglang\]"'):
            await engine.start()
        await engine.close()

    run(main())


def test_an_embedder_gives_unit_vectors(stand_in: Any) -> None:
    async def main() -> None:
        engine = create(EngineSpec("embedder", "sglang:org/embedder"))
        await engine.start()
        assert stand_in.made[0].args == {"model_path": "org/embedder", "is_embedding": True}
        outcome = await one(engine, "embed", ["four", ""])
        assert isinstance(outcome, Result), outcome
        np.testing.assert_allclose(outcome.outputs[0], [[0.6, 0.8], [1.0, 0.0]], atol=1e-6)
        await engine.close()

    run(main())


@pytest.mark.parametrize(
    ("kind", "url", "options", "words"),
    [
        ("llm", "sglang:", {}, "names no model"),
        ("reranker", "sglang:m/m", {}, "an llm or an embedder"),
        ("llm", "sglang:m/m", {"api_key_env": "X"}, "Known options: concurrency"),
        ("llm", "sglang:nothing", {}, "tokenizer 'nothing'"),
    ],
)
def test_wrong_urls_and_options_are_refused(
    kind: Any, url: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        create(EngineSpec(kind, url, options))


@pytest.mark.gpu
def test_on_a_gpu_the_released_engine_says_the_same_twice() -> None:
    pytest.importorskip("sglang")

    async def main() -> None:
        engine = create(
            EngineSpec(
                "llm",
                "sglang:HuggingFaceTB/SmolLM2-135M-Instruct",
                {"engine_args": {"mem_fraction_static": 0.3, "context_length": 2048}},
            )
        )
        await engine.start()
        try:
            question = (Turn("user"), "What is a database?", Turn("assistant"))
            first = await one(engine, "generate", *question, max_tokens=24)
            again = await one(engine, "generate", *question, max_tokens=24)
            assert isinstance(first, Result), first
            assert isinstance(again, Result), again
            assert first.outputs == again.outputs
            assert "data" in first.outputs[0]
            assert again.usage.cached_tokens > 0
        finally:
            await engine.close()

    asyncio.run(main())
