"""How many tokens a step may compute, and how long it is thought to take."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.llm.planner.latency import LatencyModel

Make = Callable[..., Any]


def fitted(fixed: float, per_token: float, per_key: float, noise: float = 0.0) -> LatencyModel:
    rng, model = random.Random(0), LatencyModel()
    for _ in range(300):
        tokens, keys = rng.randint(1, 300), rng.randint(1, 200_000)
        seconds = fixed + per_token * tokens + per_key * keys
        model.observe(tokens, keys, seconds * rng.uniform(1 - noise, 1 + noise))
    return model


def test_the_model_learns_what_steps_take() -> None:
    model = fitted(0.02, 0.0015, 2e-7, noise=0.1)
    for tokens, keys in ((32, 30_000), (256, 150_000)):
        expected = 0.02 + 0.0015 * tokens + 2e-7 * keys
        assert model.step_s(tokens, keys) == pytest.approx(expected, rel=0.1)


def test_the_model_finds_the_knee_from_which_on_a_step_takes_longer_with_its_tokens() -> None:
    rng, model = random.Random(0), LatencyModel()

    def seconds(tokens: int) -> float:
        return max(0.02, 0.02 + 0.0001 * (tokens - 250))

    for tokens in [rng.choice((8, 16, 24, rng.randint(1, 2000))) for _ in range(300)]:
        model.observe(tokens, 0, seconds(tokens))
    for tokens in (16, 64, 400, 512, 1024):
        assert model.step_s(tokens, 0) == pytest.approx(seconds(tokens), rel=0.2)


def test_the_model_follows_a_machine_that_became_slower() -> None:
    model = fitted(0.02, 0.001, 0.0)
    for tokens in list(range(1, 300, 7)) * 5:
        model.observe(tokens, 0, 2 * (0.02 + 0.001 * tokens))
    assert model.step_s(100, 0) == pytest.approx(0.24, rel=0.05)


def test_steps_of_one_shape_do_not_make_it_absurd() -> None:
    model = LatencyModel()
    for _ in range(1000):
        model.observe(32, 16_000, 0.1)
    assert model.step_s(32, 16_000) == pytest.approx(0.1, rel=0.02)
    assert 0.02 < model.step_s(1, 500) < model.step_s(512, 16_000) < 3.0


@given(
    limit_s=st.floats(0.001, 10),
    num_keys=st.integers(0, 100_000),
    context_len=st.integers(0, 8000),
    per_key=st.sampled_from([0.0, 1e-7, 1e-5]),
)
def test_the_model_turned_around(
    limit_s: float, num_keys: int, context_len: int, per_key: float
) -> None:
    model = LatencyModel()
    model._fit = (0.02, 0.001, per_key, 0.001, 0.002)

    def seconds(tokens: int) -> float:
        return model.step_s(tokens, 0) + per_key * (
            num_keys + tokens * context_len + tokens * tokens / 2
        )

    most = model.tokens_within(limit_s, num_keys, context_len)
    assert not most or seconds(most) <= limit_s + 1e-9
    assert seconds(most + 1) > limit_s - 1e-9


def test_chunks_leave_room_for_every_decode_behind_them(engine: Make) -> None:
    driven = engine(token_budget=16)
    decodes = [driven.add(4, num_output=50) for _ in range(3)]
    driven.step(2)
    urgent = driven.add(100, num_output=1, priority=1)
    driven.step()
    assert [driven.tokens(s) for s in (urgent, *decodes)] == [13, 1, 1, 1]


def test_a_step_ends_before_the_most_impatient_wants_its_token(engine: Make) -> None:
    driven = engine(policy="slo", max_running=8, token_budget=512)
    for _ in range(8):  # the model has something to learn from
        driven.add(random.Random(driven.num_added).randint(5, 200), num_output=4, itl_s=1.0)
    driven.run()
    impatient = driven.add(4, num_output=60, itl_s=0.1)
    driven.step(2)
    for _ in range(3):
        driven.add(400, num_output=2)
    times = []
    while impatient.is_running:
        before_s = driven.clock()
        driven.step()
        times.append(driven.clock() - before_s)
    assert max(times) <= 0.1
    chunks = [step.num_tokens for step in driven.steps[-len(times) :]]
    assert 60 <= max(chunks) <= 90  # 10 ms and 1 ms a token


def test_without_targets_the_slo_policy_has_the_fixed_budget(engine: Make) -> None:
    driven = engine(policy="slo", token_budget=64)
    driven.add(4, num_output=20)
    driven.step(2)
    driven.add(200, num_output=2)
    assert driven.step().num_tokens == 64


def test_any_policy_may_size_its_steps_by_a_target(engine: Make) -> None:
    driven = engine(policy="mlfq", itl_ms=50, token_budget=512)
    driven.add(4, num_output=40)
    driven.step(20)
    driven.add(300, num_output=2)
    driven.step(3)
    assert driven.step().num_tokens < 60


def test_a_request_sizes_the_steps_of_every_policy_by_its_own_target(engine: Make) -> None:
    for itl_s, most in ((None, 300), (0.05, 60)):
        driven = engine(token_budget=512)
        driven.add(4, num_output=40, itl_s=itl_s)
        driven.step(20)
        driven.add(300, num_output=2)
        assert max(driven.step().num_tokens for _ in range(3)) <= most + 1
        assert (driven.steps[-3].num_tokens > 60) == (itl_s is None)


def test_a_loose_target_never_widens_a_step_beyond_the_budget(engine: Make) -> None:
    driven = engine(token_budget=64)
    driven.add(4, num_output=20, itl_s=5.0)
    driven.step(2)
    driven.add(200, num_output=2)
    assert driven.step().num_tokens == 64
