"""Fused prompts beside all else that the engine does."""

from typing import Any

import pytest

from backends.base import Outcome, Request, Result
from backends.errors import EngineError, RequestRejected

PREFIX = "Read this. "
CHUNKS = tuple(f"Passage {i} tells of {i} ships and a storm." for i in range(4))
QUESTION = " Which ships came?"
PLANS = ("reuse", "lego(4)")
SHIP = {
    "type": "object",
    "properties": {"ship": {"enum": ["one", "two"]}},
    "required": ["ship"],
    "additionalProperties": False,
}


def result(outcome: Any) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def text_of(driver: Any, context: Any, **attrs: Any) -> list[Any]:
    """Tokens of a decode and their log-probabilities: what a bit of its KV would change."""
    attrs = {"max_tokens": 10, "ignore_eos": True, "logprobs": 1, **attrs}
    decoded = driver.decode(context, **attrs)
    return [(x.id, x.logprob) for sample in decoded.samples for x in sample.logprobs]


def alone(some: Any, fused: Any, plan: str, *parts: Any, **attrs: Any) -> list[Any]:
    """What a core writes that runs nothing else."""
    driver = some.driver(stops=False)
    context = result(fused(driver).prefill(plan, *parts)).outputs[0]
    return text_of(driver, context, **attrs)


def is_exact(driver: Any) -> bool:
    """Whether a row's bits do not depend on its batch: not in torch."""
    return "kernels" in driver.core.model.layout


def same(driver: Any, found: list[Any], expected: list[Any]) -> None:
    if is_exact(driver):
        assert found == expected
    else:
        assert [token for token, _ in found] == [token for token, _ in expected]


@pytest.mark.parametrize("plan", PLANS)
def test_decodes_from_one_fused_context_are_those_of_lone_ones(
    some: Any, fused: Any, plan: str
) -> None:
    driver = some.driver(stops=False)
    context = result(fused(driver).prefill(plan, PREFIX, CHUNKS, QUESTION)).outputs[0]
    seeds = [{"temperature": 0.9, "seed": seed, "logprobs": 1} for seed in range(3)]
    ids = [driver.submit("decode", context, max_tokens=10, **attrs) for attrs in seeds]
    together = [[(x.id, x.logprob) for x in one.samples[0].logprobs] for one in driver.run(*ids)]
    for attrs, found in zip(seeds, together, strict=True):
        expected = alone(some, fused, plan, PREFIX, CHUNKS, QUESTION, **attrs)
        same(driver, found, expected)
    several = driver.decode(context, max_tokens=10, n=3, **seeds[0])
    assert [[x.id for x in sample.logprobs] for sample in several.samples] == [
        [token for token, _ in one] for one in together
    ]


@pytest.mark.parametrize("token_budget", [5, 64, 512])
def test_fused_and_plain_prompts_of_a_batch_are_those_of_lone_ones(
    some: Any, fused: Any, token_budget: int
) -> None:
    """Fused ones with other plans over the same chunks among them."""
    driver = some.driver(stops=False, token_budget=token_budget)
    both = fused(driver)
    asked = [(plan, PREFIX, CHUNKS[i : i + 3], QUESTION) for plan in PLANS for i in range(2)]
    prompts = [PREFIX + "".join(CHUNKS[i::2]) for i in range(2)]
    plain = [both.plain("prefill", None, prompt) for prompt in prompts]
    outcomes = both.run(*(both.request(*parts) for parts in asked), *plain)
    contexts = [result(outcome).outputs[0] for outcome in outcomes]
    for context, parts in zip(contexts, asked, strict=False):
        same(driver, text_of(driver, context), alone(some, fused, *parts))
    for context, prompt in zip(contexts[len(asked) :], prompts, strict=True):
        fresh = some.driver(stops=False)
        same(driver, text_of(driver, context), text_of(fresh, fresh.prefill(None, prompt)))


def test_what_continues_a_fused_context_is_never_found_by_an_exact_prompt(
    some: Any, fused: Any
) -> None:
    driver = some.driver(stops=False)
    context = result(fused(driver).prefill("reuse", PREFIX, CHUNKS, QUESTION)).outputs[0]
    longer = driver.prefill(context, " And which did not, in all of the storms?")
    longest = driver.decode(longer, max_tokens=40, ignore_eos=True).outputs[1]
    exact = driver.call("prefill", None, PREFIX + "".join(CHUNKS) + QUESTION)
    assert exact.usage.cached_tokens <= len(PREFIX + CHUNKS[0])
    num_pages = len(set(driver.core.cache.tree.pages()) & set(longest.table.pages))
    assert num_pages <= len(PREFIX + CHUNKS[0]) / 16


def abort_before(step: int, driver: Any, both: Any) -> tuple[list[Any], bool]:
    """The outcomes of two fused prompts, the first aborted before that step; whether it had gone
    through by then."""
    gone, kept = (both.request("lego(4)", PREFIX, CHUNKS, QUESTION) for _ in range(2))
    steps = iter(range(1000))
    plain = driver.step

    def watched() -> None:
        if next(steps) == step:
            both.abort(gone.id)
        plain()

    driver.step = watched
    outcomes = both.run(gone, kept)
    return outcomes, next(steps) <= step


def test_an_abort_in_any_step_leaves_nothing_and_others_go_on(some: Any, fused: Any) -> None:
    expected = alone(some, fused, "lego(4)", PREFIX, CHUNKS, QUESTION)
    num_aborted = 0
    for step in range(1000):
        driver = some.driver(stops=False, token_budget=24)
        (first, second), is_through = abort_before(step, driver, fused(driver))
        num_aborted += isinstance(first, EngineError)
        same(driver, text_of(driver, result(second).outputs[0]), expected)
        if is_through:
            break
    assert num_aborted > 8


def test_an_abort_between_two_parts_ends_the_request(tiny: Any, fused: Any) -> None:
    """After the prefix was computed, and before a chunk is asked for."""
    both = fused(tiny.driver(stops=False))
    request, parts = both.request("reuse", PREFIX, CHUNKS, QUESTION), []
    execute = both._fuser._execute

    async def then_aborted(part: Request) -> Outcome:
        parts.append(part)
        outcome = await execute(part)
        both.abort(request.id)
        return outcome

    both._fuser._execute = then_aborted
    (outcome,) = both.run(request)
    assert isinstance(outcome, EngineError)
    assert "aborted" in str(outcome)
    assert len(parts) == 1


@pytest.mark.parametrize("salts", [("ann", "bob"), ("", "bob"), ("ann", "")])
def test_a_chunk_of_another_tenant_is_never_read(
    some: Any, fused: Any, salts: tuple[str, str]
) -> None:
    driver = some.driver(stops=False)
    both, usages = fused(driver), []
    for salt in (salts[0], salts[0], salts[1], salts[1]):
        attrs = {"cache_salt": salt} if salt else {}
        outcome = result(both.prefill("reuse", PREFIX, CHUNKS, f"{len(usages)}?", **attrs))
        assert outcome.outputs[0].salt == salt
        usages.append((outcome.usage.prefill_tokens, outcome.fusion.num_encoded))
    assert usages[1] == usages[3]
    assert min(usages[0][0], usages[2][0]) > 4 * usages[1][0]
    assert [encoded for _, encoded in usages] == [4, 0, 4, 0]


def test_a_fused_context_of_a_tenant_is_no_others(tiny: Any, fused: Any) -> None:
    driver = tiny.driver(stops=False)
    mine = result(fused(driver).prefill("reuse", PREFIX, CHUNKS, "?", cache_salt="ann")).outputs[0]
    with pytest.raises(RequestRejected, match="another cache_salt"):
        driver.decode(mine, max_tokens=3, cache_salt="bob")
    outcome = fused(driver).prefill("reuse", mine, CHUNKS, "?", cache_salt="bob")
    assert isinstance(outcome, RequestRejected)


@pytest.mark.parametrize("plan", PLANS)
def test_a_second_fused_turn_reads_chunks_behind_the_first(
    some: Any, fused: Any, plan: str
) -> None:
    """They are encoded behind a context that is fused itself, and that is never in the tree."""

    def answer(**options: Any) -> tuple[Any, list[Any]]:
        driver = some.driver(stops=False, **options)
        both = fused(driver)
        first = result(both.prefill(plan, PREFIX, CHUNKS[:2], QUESTION)).outputs[0]
        second = result(both.prefill(plan, first, CHUNKS[2:], QUESTION))
        assert second.usage.fused_tokens > len(CHUNKS[3]) / 2
        return driver, text_of(driver, second.outputs[0])

    driver, found = answer()
    same(driver, found, answer(token_budget=9)[1])


@pytest.mark.parametrize(
    "attrs",
    [
        {"regex": "[A-Z][a-z]{3,8} came in [0-9]{4}\\."},
        {"schema": SHIP},
        {"choices": ["the first", "the second", "none"]},
    ],
    ids=lambda attrs: next(iter(attrs)),
)
def test_a_fused_prompt_writes_what_a_grammar_allows(
    some: Any, fused: Any, attrs: dict[str, Any]
) -> None:
    """The same with tokens that the grammar forces in one step, and one by one."""
    texts = set()
    for jump_forward in (True, False):
        driver = some.driver(jump_forward=jump_forward)
        context = result(fused(driver).prefill("lego(4)", PREFIX, CHUNKS, QUESTION)).outputs[0]
        decoded = driver.decode(context, max_tokens=99, **attrs)
        assert decoded.samples[0].finish_reason == "stop"
        texts.add(decoded.outputs[0])
    assert len(texts) == 1


@pytest.mark.parametrize("speculation", ["ngram", "draft"])
def test_guesses_change_no_token_of_a_fused_prompt(
    some: Any, load_tiny: Any, fused: Any, speculation: str
) -> None:
    found, num_guessed = [], 0
    for options in ({}, {"speculation": speculation}):
        draft = load_tiny() if options.get("speculation") == "draft" else None
        driver = some.driver(stops=False, draft=draft, **options)
        chunks = ("one ship, two ships, " * 3, "a storm, a storm, " * 3, CHUNKS[0])
        context = result(fused(driver).prefill("lego(4)", PREFIX, chunks, QUESTION)).outputs[0]
        attrs = {"speculate": True} if options else {}
        decoded = driver.decode(context, max_tokens=40, ignore_eos=True, **attrs)
        found.append(decoded.outputs[1].ids)
        num_guessed += decoded.usage.guessed_tokens
    assert found[0] == found[1]
    assert num_guessed > 0


def test_choices_are_scored_and_chosen_behind_a_fused_prompt(some: Any, fused: Any) -> None:
    """As tokens of a decode are: their log-probabilities add up to the score."""
    driver = some.driver(stops=False)
    context = result(fused(driver).prefill("lego(4)", PREFIX, CHUNKS, QUESTION)).outputs[0]
    choices = [" None", " All of them"]
    chosen, scores, after = driver.call("select", context, choices, score="sum").outputs
    for choice, score in zip(choices, scores, strict=True):
        forced = driver.decode(context, max_tokens=40, choices=[choice], temperature=0.0)
        assert forced.outputs[0] == choice
        longer, total = context, 0.0
        for letter in choice:
            found = driver.decode(longer, max_tokens=1, logprobs=20, ignore_eos=True)
            (first,) = found.samples[0].logprobs
            near = {x.id: x.logprob for x in first.top}
            token = driver.core.encode([letter])[0]
            total += near.get(token, -1e9)
            longer = driver.prefill(longer, letter)
        if total > -1e8:  # all among the twenty that are told
            assert score == pytest.approx(total, abs=0.05)
    assert after.ids == driver.prefill(context, chosen).ids
    assert after.table.is_private
    assert text_of(driver, after)


def test_a_pinned_fused_context_keeps_its_kv(some: Any, fused: Any) -> None:
    driver = some.driver(kv_tokens=640, stops=False)
    context = result(fused(driver).prefill("reuse", PREFIX, CHUNKS, QUESTION)).outputs[0]
    assert driver.core.pins.pin(context) == context.num_tokens - 1
    expected = text_of(driver, context)
    for letter in "xyz":
        driver.prefill(None, letter * 400).release()
    assert context.table.num_computed == context.num_tokens - 1
    same(driver, text_of(driver, context), expected)


def decoded_after(driver: Any, both: Any, requests: list[Request]) -> list[Any]:
    contexts = [result(outcome).outputs[0] for outcome in both.run(*requests)]
    ids = [driver.submit("decode", c, max_tokens=60, ignore_eos=True) for c in contexts]
    return [result(outcome).outputs[1] for outcome in driver.run(*ids)]


@pytest.mark.parametrize("kv_tokens", [256, 288, 320, 384, 512])
def test_in_a_small_pool_all_are_answered(some: Any, fused: Any, kv_tokens: int) -> None:
    """Whatever is preempted, evicted, or lost before it is read."""
    driver = some.driver(stops=False, kv_tokens=kv_tokens, token_budget=32)
    both = fused(driver)
    chunks = [f"Passage {i} tells of {i} ships in a storm." for i in range(8)]
    asked = [both.request(PLANS[i % 2], PREFIX, chunks[i : i + 3], f"{i}?") for i in range(5)]
    found = decoded_after(driver, both, asked)
    num_prompt = len(PREFIX) + 3 * len(chunks[0]) + 2
    assert [len(context.ids) for context in found] == [num_prompt + 60] * 5
    for context in found:
        context.release()
    driver.core.check_integrity()
