"""The CUDA model under the real core: the torch model's tokens, with and without graphs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from backends.llm.model.batch import batch_of

PROMPTS = ("The quick brown fox", "x", "An owl! " * 8)
NUM_NEW = 4


@pytest.fixture
def load_both(
    load_tiny: Callable[..., Any], device: torch.device
) -> Callable[..., tuple[Any, Any]]:
    """A tiny model in torch, and on the CUDA path."""

    def load(
        arch: str = "llama", sizes: dict[str, int] | None = None, **settings: Any
    ) -> tuple[Any, Any]:
        from backends.llm.model.cuda.cuda_model import CudaModel
        from backends.llm.model.cuda.runner import StepLimits

        plain, other = (load_tiny(arch, device.type, **(sizes or {})) for _ in range(2))
        weights = other.found.load(torch.float32, device)
        limits = StepLimits(**{"max_running": 4, "token_budget": 48, **settings})
        other.model = CudaModel(other.found.config, weights, limits)
        return plain, other

    return load


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_greedy_tokens_are_those_of_the_torch_model(
    load_both: Callable[..., tuple[Any, Any]],
    greedily: Callable[..., list[list[int]]],
    arch: str,
) -> None:
    options: dict[str, Any] = {"stops": False, "token_budget": 48, "max_running": 4}
    plain, other = load_both(arch)
    expected = greedily(plain.driver(**options), PROMPTS, NUM_NEW)
    assert greedily(other.driver(**options), PROMPTS, NUM_NEW) == expected


def test_sampled_tokens_are_those_of_the_torch_model(
    load_both: Callable[..., tuple[Any, Any]],
) -> None:
    options: dict[str, Any] = {"stops": False, "token_budget": 48, "max_running": 4}
    texts = []
    for loaded in load_both():
        driver = loaded.driver(**options)
        context = driver.prefill(None, "An owl")
        ids = [
            driver.submit("decode", context, max_tokens=NUM_NEW, **wishes)
            for wishes in ({"temperature": 0.8, "seed": 3}, {"temperature": 0.0}, {"logprobs": 2})
        ]
        texts.append([result.outputs[0] for result in driver.run(*ids)])
    assert texts[1] == texts[0]


@pytest.mark.parametrize("graphs", [True, False])
def test_steps_of_every_kind_give_the_logits_of_the_torch_model(
    load_both: Callable[..., tuple[Any, Any]], graphs: bool
) -> None:
    batches = [
        batch_of(4, (list(range(40)), 0, [*range(10)]), ([7, 8, 9], 0, [12])),  # prompts
        batch_of(4, ([5], 40, [*range(11)]), ([3, 4, 5], 3, [12, 13])),  # a decode, and guesses
        batch_of(4, ([6], 41, [*range(11)]), ([9], 6, [12, 13]), ([1], 0, [14])),  # decodes
        batch_of(4, ([1], 1, [14])),
    ]
    plain, other = (loaded.model for loaded in load_both(graphs=graphs))
    pools = plain.make_pool(16, 4), other.make_pool(16, 4)
    for batch in batches:
        expected = plain.launch(batch, pools[0]).collect()
        found = other.launch(batch, pools[1]).collect()
        assert found.tokens.tolist() == expected.tokens.tolist()
        torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-4)


def test_damaged_weights_fail_the_request_and_not_the_engine(
    load_both: Callable[..., tuple[Any, Any]],
) -> None:
    _, loaded = load_both()
    driver = loaded.driver(token_budget=48, max_running=4)
    loaded.model._net.norm.fill_(torch.nan)
    (outcome,) = driver.run(driver.submit("decode", None, "An owl", max_tokens=2))
    assert "not finite" in str(outcome)


def test_kv_takes_nine_tenths_of_what_the_largest_step_leaves(
    load_both: Callable[..., tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.llm.model.cuda.cuda_model import kv_tokens_that_fit
    from backends.llm.model.cuda.runner import Runner

    plain, loaded = load_both()
    done: list[str] = []
    run_largest = Runner.run_largest
    monkeypatch.setattr(
        Runner, "run_largest", lambda runner: (run_largest(runner), done.append("largest"))
    )

    def free_bytes() -> int:
        done.append("asked")
        return 10_000_000

    a_token = 2 * 2 * 2 * 8 * 4  # K and V, layers, KV heads, head size, bytes
    assert kv_tokens_that_fit([loaded.model], 16, free_bytes) == 9_000_000 // a_token
    assert done == ["largest", "asked"]
    both = kv_tokens_that_fit([loaded.model, plain.model], 16, free_bytes)
    assert both == 9_000_000 // (2 * a_token)


def test_linked_keys_and_values_are_those_of_the_torch_model(
    load_both: Callable[..., tuple[Any, Any]],
) -> None:
    """On all layers, and no other place changes."""
    pages, exported = list(range(12)), []
    for loaded in load_both(sizes={"num_hidden_layers": 11}):
        pool = loaded.model.make_pool(12, 16)
        size = pool.export_pages(pages).shape[1] // 4
        numbers = torch.randn(12, size, generator=torch.Generator().manual_seed(0))
        pool.import_pages(pages, numbers.view(torch.uint8))
        loaded.model.link(pool, [7, 2, 9, 4, 1], 13, [0, 11, 3, 8, 10], 24, 50)
        exported.append(pool.export_pages(pages).view(torch.float32).cpu())
    is_new = (exported[0] != numbers).view(12, 11, 2, 16, -1).any(dim=(1, 2, 4))
    assert is_new.nonzero().tolist() == sorted(
        [[0, 11, 3, 8, 10][at // 16], at % 16] for at in range(24, 74)
    )
    torch.testing.assert_close(exported[1], exported[0], rtol=1e-4, atol=1e-5)
