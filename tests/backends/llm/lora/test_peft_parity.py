"""Greedy tokens with adapters must equal those of PEFT on the same files."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# PEFT asks transformers by a name that is going away.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

NUM_NEW = 32
PROMPTS = ("The quick brown fox", "x", "An owl! " * 12, "Numbers 1 2 3 4 5 6 7 8 9 " * 6)


def run_all(driver: Any, jobs: list[tuple[str | None, str]]) -> list[list[int]]:
    """New tokens of (adapter, prompt) pairs that all run together."""
    ids = [driver.submit("prefill", None, text, **named(adapter)) for adapter, text in jobs]
    contexts = [result.outputs[0] for result in driver.run(*ids)]
    ids = [driver.submit("decode", context, max_tokens=NUM_NEW) for context in contexts]
    results = driver.run(*ids)
    pairs = zip(results, contexts, strict=True)
    return [result.outputs[1].ids[context.num_tokens :] for result, context in pairs]


def named(adapter: str | None) -> dict[str, str]:
    return {} if adapter is None else {"adapter": adapter}


@pytest.mark.parametrize(
    ("arch", "config"),
    [
        ("llama", {}),
        ("qwen2", {}),
        ("llama", {"target_modules": ["q_proj", "v_proj"]}),
        ("llama", {"target_modules": ["k_proj", "up_proj"], "r": 1}),
        ("llama", {"target_modules": "all-linear"}),
        ("llama", {"use_rslora": True, "r": 9}),
        ("llama", {"layers_to_transform": [1]}),
        (
            "llama",
            {
                "rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 7},
                "alpha_pattern": {"v_proj": 30, "layers.0.self_attn.o_proj": 1},
            },
        ),
    ],
    ids=["all", "qwen2", "qv", "k-up", "all-linear", "rslora", "one-layer", "patterns"],
)
def test_greedy_tokens_equal_peft(
    tiny_folder: Callable[..., Path],
    load_tiny: Callable[..., Any],
    adapter_folder: Callable[..., Path],
    peft_greedy: Callable[..., list[int]],
    arch: str,
    config: dict[str, Any],
) -> None:
    loaded, folder = load_tiny(arch), adapter_folder(arch=arch, **config)
    driver = loaded.driver(stops=False, token_budget=48)
    driver.core.load_adapter("a", folder)
    with_adapter = run_all(driver, [("a", prompt) for prompt in PROMPTS])
    for prompt, tokens in zip(PROMPTS, with_adapter, strict=True):
        ids = loaded.tokenizer.encode_text(prompt)
        assert tokens == peft_greedy(tiny_folder(arch), folder, ids, NUM_NEW)
    assert with_adapter != run_all(driver, [(None, prompt) for prompt in PROMPTS])


BASE = {"head_dim": 16}  # what the native kernels take


@pytest.fixture(scope="module")
def folders(adapter_folder: Callable[..., Path]) -> dict[str | None, Path | None]:
    return {
        None: None,
        "all": adapter_folder(1, base=BASE),
        "qv": adapter_folder(2, base=BASE, target_modules=["q_proj", "v_proj"], r=2),
        "mlp": adapter_folder(3, base=BASE, target_modules=["gate_proj", "down_proj"], r=9),
    }


@pytest.fixture(scope="module")
def by_peft(
    tiny_folder: Callable[..., Path],
    peft_greedy: Callable[..., list[int]],
    folders: dict[str | None, Path | None],
) -> Callable[[str | None, tuple[int, ...]], list[int]]:
    return cache(
        lambda name, ids: peft_greedy(tiny_folder(**BASE), folders[name], list(ids), NUM_NEW)
    )


def check_a_batch(
    tiny: Any,
    folders: dict[str | None, Path | None],
    by_peft: Callable[[str | None, tuple[int, ...]], list[int]],
    page_size: int,
) -> None:
    driver = tiny.driver(kv_tokens=4096, stops=False, token_budget=37, page_size=page_size)
    for name, folder in folders.items():
        if name is not None:
            driver.core.load_adapter(name, folder)
    jobs = [(name, prompt) for prompt in PROMPTS for name in folders]
    together = run_all(driver, jobs)
    for (name, prompt), tokens in zip(jobs, together, strict=True):
        ids = tiny.tokenizer.encode_text(prompt)
        assert tokens == by_peft(name, tuple(ids)), (name, prompt)


@pytest.mark.parametrize("page_size", [1, 16])
def test_adapters_and_base_rows_in_one_batch_equal_peft(
    load_tiny: Callable[..., Any],
    folders: dict[str | None, Path | None],
    by_peft: Callable[[str | None, tuple[int, ...]], list[int]],
    page_size: int,
) -> None:
    check_a_batch(load_tiny(**BASE), folders, by_peft, page_size)


def test_adapters_and_base_rows_in_one_batch_equal_peft_on_every_instruction_set(
    load_tiny: Callable[..., Any],
    folders: dict[str | None, Path | None],
    by_peft: Callable[[str | None, tuple[int, ...]], list[int]],
    isa: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEOLA_ISA", isa)
    check_a_batch(load_tiny(**BASE).moved(kernels="native"), folders, by_peft, 16)


def test_a_batch_with_adapters_gives_each_row_what_it_gets_alone(
    tiny: Any, adapter_folder: Callable[..., Path]
) -> None:
    names = ("a", "b", None, "c")
    jobs = [(name, prompt) for name in names for prompt in PROMPTS]

    def driver() -> Any:
        fresh = tiny.driver(stops=False)
        for seed, name in enumerate("abc"):
            fresh.core.load_adapter(name, adapter_folder(seed))
        return fresh

    together = run_all(driver(), jobs)
    assert together == [run_all(driver(), [job])[0] for job in jobs]
    assert len({tuple(map(tuple, together[i : i + 4])) for i in range(0, 16, 4)}) == len(names)
