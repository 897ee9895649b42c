"""Greedy tokens of SmolLM2-135M must equal those of transformers on the same GGUF file.

transformers reads, dequantises and unpermutes the file by its own code and attends without pages,
so the two share nothing but the numbers in the file.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.model

NUM_NEW = 64
CITIES = ("Lyon", "Bergen", "Osaka", "Quito", "Perth", "Tunis", "Kyiv", "Oslo")
TOPICS = (
    "why the sky is blue",
    "how a bicycle stays upright",
    "the history of bread",
    "what a compiler does",
    "rivers and their deltas",
    "the rules of chess",
    "how vaccines work",
    "a quiet morning in a harbour",
)


def short_prompts() -> list[tuple[str, ...]]:
    """16 prompts of three parts, 18 to 30 tokens."""
    told = [
        ("Question: please explain in one line ", topic, " to a small child.\nAnswer:")
        for topic in TOPICS
    ]
    done = [
        (f"The city of {city} lies", f" at the edge of the water, and {i} roads lead", " to it. In")
        for i, city in enumerate(CITIES)
    ]
    return told + done


def long_prompts() -> list[tuple[str, ...]]:
    """4 prompts of three parts, 1,500 tokens and a little more."""
    prompts = []
    for seed in range(4):
        lines = [
            f"On day {i}, {CITIES[(i * (seed + 3)) % 8]} sent {i * 37 % 91} crates of "
            f"{TOPICS[(i + seed) % 8].split()[-1]} to {CITIES[(i + 1) % 8]}.\n"
            for i in range(76 + seed)
        ]
        prompts.append((f"Log number {seed}.\n", "".join(lines), "Summary of the log:"))
    return prompts


PROMPTS = short_prompts() + long_prompts()
FEW = [0, 5, 8, 13, 16]  # four short, one long


@pytest.fixture(scope="module")
def prompt_ids(smollm: Any) -> list[list[int]]:
    return [[i for part in p for i in smollm.tokenizer.encode_text(part)] for p in PROMPTS]


@pytest.fixture(scope="module")
def oracle(smollm_path: Path, prompt_ids: list[list[int]]) -> list[list[int]]:
    """64 greedy tokens of each prompt by transformers, left-padded in batches of like length."""
    model = _transformers_model(smollm_path)
    order = sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
    tokens: list[list[int]] = [[] for _ in prompt_ids]
    for start in range(0, len(order), 4):
        batch = order[start : start + 4]
        for i, out in zip(batch, _generate(model, [prompt_ids[i] for i in batch]), strict=True):
            tokens[i] = out
    return tokens


def _transformers_model(path: Path) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = LlamaConfig(**load_gguf_checkpoint(str(path))["config"])
    model = LlamaForCausalLM(config).eval()
    loaded = load_gguf_checkpoint(
        str(path), return_tensors=True, model_to_load=model, torch_dtype=torch.float32
    )
    missing, unexpected = model.load_state_dict(loaded["tensors"], strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])  # tied
    model.tie_weights()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def _generate(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=mask, max_new_tokens=NUM_NEW, do_sample=False)
    return out[:, width:].tolist()


def greedy(driver: Any, prompts: list[tuple[str, ...]], num_contexts: int = 1) -> list[list[int]]:
    """All prompts together: prefills submitted at once, then the decodes."""
    prefills = driver.run(*(driver.submit("prefill", None, *p) for p in prompts))
    contexts = [p.outputs[0] for p in prefills for _ in range(num_contexts)]
    return decode_all(driver, contexts)


def decode_all(driver: Any, contexts: list[Any]) -> list[list[int]]:
    ids = [driver.submit("decode", c, max_tokens=NUM_NEW) for c in contexts]
    results = driver.run(*ids)
    pairs = zip(results, contexts, strict=True)
    return [r.outputs[1].ids[c.num_tokens :] for r, c in pairs]


def core(smollm: Any, **options: Any) -> Any:
    return smollm.driver(kv_tokens=10_240, stops=False, **options)


def test_there_are_twenty_prompts_short_and_long(prompt_ids: list[list[int]]) -> None:
    lengths = [len(ids) for ids in prompt_ids]
    assert len(lengths) == 20
    assert 17 < min(lengths[:16]) <= max(lengths[:16]) < 40
    assert min(lengths[16:]) >= 1500


def test_each_prompt_alone_and_cold_equals_transformers(smollm: Any, oracle: Any) -> None:
    driver = core(smollm)
    for i, prompt in enumerate(PROMPTS):
        assert greedy(driver, [prompt]) == [oracle[i]], f"prompt {i}"
        driver.core.cache.forget()


def test_all_prompts_batched_then_cached_equal_transformers(smollm: Any, oracle: Any) -> None:
    driver = core(smollm)
    assert greedy(driver, PROMPTS) == oracle
    again = driver.run(*(driver.submit("prefill", None, *p) for p in PROMPTS))
    for i, prefill in enumerate(again):
        num_new = prefill.outputs[0].num_tokens - 1
        assert prefill.usage.cached_tokens == num_new // 16 * 16 > 0
        assert prefill.usage.prefill_tokens == num_new % 16, f"prompt {i}"
    found = decode_all(driver, [again[i].outputs[0] for i in FEW])
    assert found == [oracle[i] for i in FEW]


def test_small_chunks_mixed_with_decodes_equal_transformers(smollm: Any, oracle: Any) -> None:
    driver = core(smollm, token_budget=97)
    # Decodes are submitted as soon as their own prefill is done, beside the others' chunks.
    waiting = {driver.submit("prefill", None, *PROMPTS[i]): i for i in FEW}
    decodes: dict[str, tuple[int, int]] = {}
    while driver.core.has_work:
        driver.step()
        for request_id in [r for r in waiting if r in driver.outcomes]:
            context = driver.outcomes[request_id].outputs[0]
            decode = driver.submit("decode", context, max_tokens=NUM_NEW)
            decodes[decode] = (waiting.pop(request_id), context.num_tokens)
    for request_id, (i, num_prompt) in decodes.items():
        tokens = driver.outcomes[request_id].outputs[1].ids[num_prompt:]
        assert tokens == oracle[i], f"prompt {i}"


def test_whole_prompts_in_one_chunk_equal_transformers(smollm: Any, oracle: Any) -> None:
    driver = core(smollm, token_budget=4096, page_size=48)
    assert greedy(driver, [PROMPTS[i] for i in FEW]) == [oracle[i] for i in FEW]


def test_two_decodes_of_one_context_equal_transformers(smollm: Any, oracle: Any) -> None:
    driver = core(smollm)
    both = greedy(driver, [PROMPTS[i] for i in FEW], num_contexts=2)
    assert both[::2] == both[1::2] == [oracle[i] for i in FEW]


def test_prompts_prefilled_in_pieces_equal_transformers(smollm: Any, oracle: Any) -> None:
    driver = core(smollm)
    contexts: list[Any] = [None] * len(FEW)
    for part in range(3):
        pieces = [PROMPTS[i][part] for i in FEW]
        ids = [
            driver.submit("prefill", c, piece) for c, piece in zip(contexts, pieces, strict=True)
        ]
        contexts = [result.outputs[0] for result in driver.run(*ids)]
    assert decode_all(driver, contexts) == [oracle[i] for i in FEW]


def test_forked_prefixes_continue_apart_as_transformers_does(smollm: Any, oracle: Any) -> None:
    driver = core(smollm)
    starts = {i: driver.prefill(None, PROMPTS[i][0]) for i in (8, 9, 16)}
    other = {i: driver.prefill(c, " something else entirely") for i, c in starts.items()}
    contexts = [driver.prefill(c, *PROMPTS[i][1:]) for i, c in starts.items()]
    decode_all(driver, list(other.values()))  # writes next to the shared pages
    assert decode_all(driver, contexts) == [oracle[i] for i in starts]
