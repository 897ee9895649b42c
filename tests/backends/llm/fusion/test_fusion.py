"""A fused prompt reads the KV of its chunks, turned to where they stand, and computes the rest."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from backends.base import Result
from backends.fake.paged_model import PagedModel
from backends.llm.core import LLMCore
from backends.llm.model.batch import batch_of
from backends.llm.model.native.native_model import NativeModel
from backends.llm.options import LLMOptions
from backends.native.library import library

PREFIX = "Answer from these passages. "
CHUNKS = ("The sea is deep and cold here.", "A bell rang twice; nobody came.", "Odd.")
QUESTION = " What rang?"
NATIVE = pytest.mark.skipif(library() is None, reason="no kernels here")
KINDS = [
    pytest.param(("torch", torch.float32), id="torch"),
    pytest.param(("native", torch.float32), id="native", marks=NATIVE),
    pytest.param(("native", torch.bfloat16), id="native-bf16", marks=NATIVE),
]


@pytest.fixture(params=KINDS)
def loaded(request: pytest.FixtureRequest, load_tiny: Callable[..., Any]) -> Any:
    kernels, dtype = request.param
    return load_tiny(head_dim=16).moved(kernels=kernels, dtype=dtype)


def tokens_of(result: Result, driver: Any, num_new: int = 12) -> list[int]:
    (context,) = result.outputs
    decoded = driver.decode(context, max_tokens=num_new, ignore_eos=True)
    return list(decoded.outputs[1].ids[context.num_tokens :])


def exact_tokens(loaded: Any, chunks: tuple[str, ...] = CHUNKS) -> list[int]:
    driver = loaded.driver(stops=False)
    return tokens_of(driver.call("prefill", None, PREFIX + "".join(chunks) + QUESTION), driver)


def result(outcome: Any) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def test_keys_turned_to_other_places_are_those_computed_there(loaded: Any) -> None:
    """On the first layer, where KV depends on token and position alone."""
    model, ids = loaded.model, list(range(40, 90))
    kv = model.make_pool(32, 16)
    model.launch(batch_of(16, (ids, 0, [3, 1, 7, 5])), kv)
    for first, to in ((0, 64), (7, 102), (16, 3), (1, 1500 % 448)):
        num = 50 - first
        far = list(range(8, 31))
        model.link(kv, [3, 1, 7, 5], first, far, to, num)
        fresh = model.make_pool(64, 16)
        num_pages = -(-(to + num) // 16)
        model.launch(batch_of(16, (ids[first:], to, list(range(num_pages)))), fresh)
        for at in range(to, to + num):
            (k, v), (want_k, want_v) = (
                token_kv(model, pool, pages[at // 16], at % 16)
                for pool, pages in ((kv, far), (fresh, list(range(64))))
            )
            error = 2e-6 if not is_bf16(model) else 2e-2
            np.testing.assert_allclose(k, want_k, rtol=error, atol=error * abs(want_k).max())
            np.testing.assert_array_equal(v, want_v)


def is_bf16(model: Any) -> bool:
    return str(model.dtype).endswith("bfloat16")


def token_kv(model: Any, pool: Any, page: int, slot: int) -> tuple[Any, Any]:
    """Key and value of the first layer, [K, D] each."""
    config = model.config
    if not isinstance(model, NativeModel):
        k, v = pool._pages[0][:, page, slot].float().numpy()
        return k, v
    per_word = 2 if is_bf16(model) else 1
    dtype = torch.bfloat16 if is_bf16(model) else torch.float32
    halves = torch.from_numpy(pool.pages[0, :, page]).view(dtype).float().numpy()
    keys = halves[0].reshape(config.num_kv_heads, -1, 16, per_word)[:, :, slot]
    values = halves[1].reshape(config.num_kv_heads, -1, config.head_dim, per_word)
    return (
        keys.reshape(config.num_kv_heads, config.head_dim),
        values[:, slot // per_word, :, slot % per_word],
    )


def test_a_chunk_right_behind_the_prefix_is_exact(loaded: Any, fused: Any) -> None:
    driver = loaded.driver(stops=False)
    outcome = result(fused(driver).prefill("reuse", PREFIX, CHUNKS[:1], QUESTION))
    assert tokens_of(outcome, driver) == exact_tokens(loaded, CHUNKS[:1])


def test_chunks_computed_again_as_a_whole_are_exact(loaded: Any, fused: Any) -> None:
    driver = loaded.driver(stops=False)
    outcome = result(fused(driver).prefill("lego(99)", PREFIX, CHUNKS, QUESTION))
    assert outcome.usage.fused_tokens == 0
    assert tokens_of(outcome, driver) == exact_tokens(loaded)


def test_what_is_not_linked_alone_is_computed(loaded: Any, fused: Any) -> None:
    driver = loaded.driver(stops=False)
    twice = fused(driver)
    twice.prefill("reuse", PREFIX, CHUNKS, QUESTION)
    outcome = result(twice.prefill("lego(4)", PREFIX, CHUNKS[::-1], " Who came?"))
    usage, report = outcome.usage, outcome.fusion
    assert report is not None
    assert (report.plan, report.num_chunks, report.num_encoded) == ("lego(4)", 3, 0)
    assert set(report.rows) <= set(range(1, usage.prefill_tokens + 1))
    assert len(set(report.rows)) == 1
    assert len(report.rows) == loaded.model.config.num_layers
    assert report.saved_s >= 0
    in_chunks = sum(map(len, CHUNKS))  # a token a byte
    assert in_chunks * 0.5 < usage.fused_tokens < in_chunks
    new = len(PREFIX + " Who came?") + 3 * 6
    assert usage.prefill_tokens <= new


def test_focus_leaves_chunks_out_and_computes_nothing_of_the_others(
    loaded: Any, fused: Any
) -> None:
    driver = loaded.driver(stops=False)
    outcome = result(fused(driver).prefill("focus(2)", PREFIX, CHUNKS, QUESTION))
    (context,) = outcome.outputs
    prompts = [
        list(f"{PREFIX}{a}{b}{QUESTION}".encode())
        for i, a in enumerate(CHUNKS)
        for b in CHUNKS[i + 1 :]
    ]
    text = driver.core.decode(context.ids)
    assert text.startswith(PREFIX)
    assert text.endswith(QUESTION)
    assert text.encode() in [bytes(prompt) for prompt in prompts]
    last = fused(loaded.driver(stops=False)).prefill("focus(2, sort=true)", PREFIX, CHUNKS, "?")
    assert len(result(last).outputs[0].ids) < len(PREFIX + "".join(CHUNKS) + "?")


def test_chunks_encoded_alone_serve_prompts_of_any_prefix(loaded: Any, fused: Any) -> None:
    driver = loaded.driver(stops=False)
    prompts = fused(driver)
    chunks = CHUNKS[:2]
    prompts.prefill("lego(4)+alone", PREFIX, chunks, QUESTION)
    prompts.prefill("lego(4)+alone", PREFIX, chunks, QUESTION)  # it knows how long they are
    outcome = result(prompts.prefill("lego(4)+alone", "Another beginning. ", chunks, QUESTION))
    assert outcome.fusion is not None
    assert outcome.fusion.num_encoded == 0
    assert outcome.usage.fused_tokens == len("".join(chunks)) - 8
    behind = result(prompts.prefill("lego(4)", "Another beginning. ", chunks, QUESTION))
    assert behind.fusion is not None
    assert behind.fusion.num_encoded == 2


def test_chunks_in_context_are_others_and_the_context_is_computed_once(
    loaded: Any, fused: Any
) -> None:
    prompts = fused(loaded.driver(stops=False))
    plain = result(prompts.prefill("reuse", PREFIX, CHUNKS, QUESTION))
    first = result(prompts.prefill("reuse+context(40)", PREFIX, CHUNKS, QUESTION))
    again = result(prompts.prefill("reuse+context(40)", PREFIX, CHUNKS[::-1], QUESTION))
    assert first.outputs[0].ids == plain.outputs[0].ids
    assert first.fusion is not None
    assert again.fusion is not None
    assert first.usage.prefill_tokens >= 40 + len("".join(CHUNKS))
    assert (first.fusion.num_encoded, again.fusion.num_encoded) == (len(CHUNKS), 0)
    assert again.usage.prefill_tokens < 40
    found = len("Odd.")  # behind the prefix, where `plain` has left it
    assert again.usage.fused_tokens == len("".join(CHUNKS)) - found
    read = partial(prompts.driver.core.model.read, prompts.driver.core.kv, 1)
    of = (first.outputs[0].table.pages, plain.outputs[0].table.pages)
    behind = len(PREFIX + CHUNKS[0]), len("".join(CHUNKS[1:]))
    values, others = (read(pages, *behind)[1] for pages in of)
    assert (values != others).any(2).all(), "each token has seen other tokens"


@pytest.mark.parametrize(
    "fusion",
    ["lego(99)+alone", "query(1)+alone", "blend(1)+alone", "query(1)+context(30)+alone"],
)
def test_alone_and_computed_again_as_a_whole_is_exact(loaded: Any, fused: Any, fusion: str) -> None:
    driver = loaded.driver(stops=False)
    outcome = result(fused(driver).prefill(fusion, PREFIX, CHUNKS, QUESTION))
    assert outcome.usage.fused_tokens == 0
    assert tokens_of(outcome, driver) == exact_tokens(loaded)


def test_exact_is_an_ordinary_prefill(loaded: Any, fused: Any) -> None:
    driver = loaded.driver(stops=False)
    outcome = result(fused(driver).prefill("exact", PREFIX, CHUNKS, QUESTION))
    assert outcome.fusion is None
    assert tokens_of(outcome, driver) == exact_tokens(loaded)
    again = result(fused(driver).prefill("exact", PREFIX, CHUNKS, QUESTION))
    assert again.usage.prefill_tokens < 16, "the tree has it"


def test_the_prefix_of_a_prompt_is_computed_once(loaded: Any, fused: Any) -> None:
    """Though it fills no page."""
    driver = loaded.driver(stops=False)
    twice = fused(driver)
    for rest in (" Who?", " Where?", " When?"):
        usage = result(twice.prefill("reuse", "Read. ", CHUNKS, rest)).usage
        num_tokens = len("Read. " + "".join(CHUNKS) + rest)
        assert usage.prefill_tokens + usage.cached_tokens + usage.fused_tokens >= num_tokens - 1
    assert usage.prefill_tokens <= len(rest)
    again = result(twice.prefill("reuse", "Read. ", CHUNKS, " When?"))
    assert tokens_of(again, driver) == tokens_of(again, driver)


def test_small_steps_give_the_bits_of_large_ones(loaded: Any, fused: Any) -> None:
    def answer(**options: Any) -> list[int]:
        driver = loaded.driver(stops=False, **options)
        return tokens_of(result(fused(driver).prefill("lego(3)", PREFIX, CHUNKS, QUESTION)), driver)

    assert answer(token_budget=5) == answer() == answer(max_running=1)


@pytest.mark.parametrize("fusion", ["query(0.4)", "blend(0.4)", "gradual(0.4)", "random(0.4)"])
def test_scattered_tokens_give_the_same_in_small_steps(
    loaded: Any, fused: Any, fusion: str
) -> None:
    def answer(**options: Any) -> list[int]:
        driver = loaded.driver(stops=False, **options)
        outcome = result(fused(driver).prefill(fusion, PREFIX, CHUNKS, QUESTION))
        assert outcome.usage.fused_tokens
        driver.core.check_integrity()
        return tokens_of(outcome, driver)

    assert answer(token_budget=5) == answer() == answer(token_budget=7, max_running=2)


@pytest.mark.parametrize("fusion", ["query(1)", "blend(1)", "random(1)"])
def test_a_ratio_of_one_is_exact(loaded: Any, fused: Any, fusion: str) -> None:
    driver = loaded.driver(stops=False)
    outcome = result(fused(driver).prefill(fusion, PREFIX, CHUNKS, QUESTION))
    assert outcome.usage.fused_tokens == 0
    assert tokens_of(outcome, driver) == exact_tokens(loaded)


def test_fused_kv_is_never_found_by_an_exact_prompt(loaded: Any, fused: Any) -> None:
    driver = loaded.driver(stops=False)
    fused(driver).prefill("reuse", PREFIX, CHUNKS, QUESTION)
    prompt = PREFIX + "".join(CHUNKS) + QUESTION
    exact = driver.call("prefill", None, prompt)
    assert exact.usage.cached_tokens <= len(PREFIX + CHUNKS[0])
    assert tokens_of(exact, driver) == exact_tokens(loaded)


def test_what_a_fused_context_lost_is_computed_exactly(loaded: Any, fused: Any) -> None:
    driver = loaded.driver(stops=False)
    (context,) = result(fused(driver).prefill("reuse", PREFIX, CHUNKS, QUESTION)).outputs
    driver.core.cache.drop(context.table)
    driver.core.flush()
    decoded = driver.decode(context, max_tokens=12, ignore_eos=True)
    assert decoded.outputs[1].ids[context.num_tokens :] == exact_tokens(loaded)


def test_linking_changes_no_byte_of_a_chunk(loaded: Any, fused: Any) -> None:
    driver = loaded.driver(stops=False)
    context = driver.prefill(None, PREFIX + CHUNKS[1])
    pages = context.table.pages
    before = driver.core.kv.export_pages(pages)
    for rest in ("?", "!", " And then?"):
        fused(driver).prefill("reuse", PREFIX, CHUNKS, rest)
    assert torch.equal(before, driver.core.kv.export_pages(pages))


def paged(prompts: Any, **options: Any) -> LLMCore:
    return LLMCore(PagedModel(), prompts, LLMOptions(**options), kv_tokens=512)


@pytest.mark.parametrize(
    "fusion",
    ["reuse", "lego(7)", "query(0.3)", "blend(0.2)", "gradual(0.3)", "random(0.4)+first(1)"],
)
@pytest.mark.parametrize("prefix", ["", "x", PREFIX])
def test_every_token_is_read_from_its_own_place(
    tiny: Any, fused: Any, prefix: str, fusion: str
) -> None:
    """The next token of this model is a hash of all it reads."""
    driver = tiny.driver(stops=False)
    driver.core = paged(driver.core._prompts)
    for chunks in (CHUNKS, CHUNKS[::-1], (CHUNKS[1], CHUNKS[1], "a"), ("b",)):
        for rest in ("?", QUESTION):
            outcome = result(fused(driver).prefill(fusion, prefix, chunks, rest))
            plain = tiny.driver(stops=False)
            plain.core = paged(plain.core._prompts)
            exact = plain.call("prefill", None, prefix + "".join(chunks) + rest)
            assert tokens_of(outcome, driver) == tokens_of(exact, plain)
