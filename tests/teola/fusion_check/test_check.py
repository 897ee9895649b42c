"""A check of the tiny model, in steps and by the command."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from backends.base import Chunk
from backends.errors import ConfigError, RequestRejected
from teola.fusion_check import check as checks
from teola.fusion_check.check import Losses, Settings, check, finish, url_of
from teola.fusion_check.earlier import earlier_prompts
from teola.fusion_check.loss import Loss, losses
from teola.fusion_check.questions import Question

PASSAGES = ("The sea is deep and cold here.", "A bell rang twice; nobody came.", "Odd, he said.")
QUESTIONS = (Question("What rang?", PASSAGES), Question("What is deep?", PASSAGES[::-1]))
ALL = "lego(99)"  # computes every token again


@pytest.fixture
def url(tiny_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))
    monkeypatch.setenv("TEOLA_NATIVE", "0")
    return f"local:{tiny_folder()}"


def found_by(settings: Settings, on_loss: Callable[[], None] = lambda: None) -> Losses:
    return asyncio.run(check(settings, on_loss))


def test_reuse_loses_and_what_computes_all_again_recovers_all(url: str) -> None:
    settings = Settings(url, QUESTIONS, ("lego(4)", ALL))
    found = found_by(settings)
    assert list(found) == ["reuse", "lego(4)", ALL]
    for reuse, some, exact in zip(*found.values(), strict=True):
        assert reuse.kl > 1e-4
        assert exact.kl < 1e-6
        assert exact.top1 == 1
        assert reuse.cost < some.cost < exact.cost <= 1
        assert reuse.num_tokens == exact.num_tokens
    plans = finish(settings, found).plans
    assert (plans["reuse"].r, plans[ALL].r) == (0, pytest.approx(1, abs=1e-3))
    assert plans["reuse"].cost == pytest.approx(sum(loss.cost for loss in found["reuse"]) / 2, 1e-3)


def test_a_check_that_was_stopped_goes_on_and_measures_nothing_twice(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[str, tuple[str, ...]]] = []

    async def noted(
        probe: Any, prompt: Any, plans: Sequence[str], other: Any
    ) -> AsyncIterator[tuple[str, Loss]]:
        measured.append((prompt[-2], tuple(plans)))
        async for found in losses(probe, prompt, plans, other):
            yield found

    monkeypatch.setattr(checks, "losses", noted)
    settings = Settings(url, QUESTIONS, (ALL, "lego(4)"))
    num_done = 0

    def stop_at_five() -> None:
        nonlocal num_done
        num_done += 1
        if num_done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found_by(settings, stop_at_five)
    num_done = -100
    found = found_by(settings, stop_at_five)
    plans = ("reuse", ALL, "lego(4)")
    second = f"Question: {QUESTIONS[1].text}"
    assert measured == [
        (f"Question: {QUESTIONS[0].text}", plans),
        (second, plans),
        (second, ("lego(4)",)),
    ]
    assert num_done == -94
    assert all(len(own) == 2 for own in found.values())


def test_other_plans_join_those_that_were_checked_before(url: str) -> None:
    from backends.fusion_profile import save

    first = Settings(url, QUESTIONS, ("lego(4)",))
    save(finish(first, found_by(first)))
    second = Settings(url, QUESTIONS, (ALL,), floor=0.3)
    profile = finish(second, found_by(second))
    assert set(profile.plans) == {"reuse", "lego(4)", ALL}
    assert profile.floor == 0.3


def test_what_is_no_plan_and_no_embedded_model_is_refused() -> None:
    with pytest.raises(RequestRejected, match="fastest"):
        assert Settings("local:x", QUESTIONS, ("fastest",)).all_plans
    assert url_of("smollm2-135m") == "local:smollm2-135m"
    with pytest.raises(ConfigError, match="fusion-check runs embedded models"):
        url_of("vllm://host/model")


def test_the_usual_plans_begin_with_reuse() -> None:
    plans = Settings("local:x", QUESTIONS).all_plans
    assert plans[0] == "reuse"
    assert {"lego(4)", "lego(16)"} <= set(plans)


def test_an_engine_refuses_what_the_check_found_too_lossy(url: str) -> None:
    from uuid import uuid4

    from backends.base import Request, Result
    from backends.fusion_profile import save
    from backends.registry import EngineSpec, create

    settings = Settings(url, QUESTIONS, (ALL,))
    save(finish(settings, found_by(settings)))

    async def outcome(plan: str, **options: Any) -> Any:
        engine = create(EngineSpec("llm", url, {"kernels": "torch", **options}))
        await engine.start()
        inputs = (None, *QUESTIONS[0].prompt)
        try:
            request = Request(uuid4().hex, "prefill", inputs, {"fusion": plan})
            return (await engine.execute([request]))[0]
        finally:
            await engine.close()

    refused = asyncio.run(outcome("reuse"))
    assert isinstance(refused, RequestRejected)
    assert "below the floor" in str(refused)
    assert isinstance(asyncio.run(outcome(ALL)), Result)
    assert isinstance(asyncio.run(outcome("reuse", fusion_floor=-0.01)), Result)


def test_plans_that_remember_are_measured_behind_another_question(url: str) -> None:
    for crafted in found_by(Settings(url, QUESTIONS, ("craft(0)",)))["craft(0)"]:
        assert crafted.cost < 0.5
        assert crafted.kl > 1e-4


def test_the_earlier_prompts_of_craft_have_each_passage_behind_two_others() -> None:
    prompt, other = (question.prompt for question in QUESTIONS)
    made = list(earlier_prompts("craft(0.1)", prompt, other))
    assert [[x for x in p if isinstance(x, Chunk)] for p in made] == [
        [*[x for x in other if isinstance(x, Chunk)][:2], own]
        for own in prompt
        if isinstance(own, Chunk)
    ]
    assert not list(earlier_prompts("lego(4)+context(9)", prompt, other))
