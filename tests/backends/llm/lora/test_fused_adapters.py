"""Fused prompts with adapters: the KV of a chunk is of one adapter, and no other reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fused_driver import FusedDriver

from backends.base import Result

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
CHUNKS = tuple(f"Passage {i} tells of {i} ships and a storm." for i in range(3))
ADAPTERS = (None, "a", "b")


@pytest.mark.parametrize("kernels", ["torch", "native"])
def test_a_chunk_of_another_adapter_is_never_read(
    load_tiny: Any, adapter_folder: Callable[..., Path], kernels: str
) -> None:
    """Every adapter writes, after all others, what it writes alone."""
    base = {"head_dim": 16}
    model = load_tiny(**base).moved(kernels=kernels)

    def texts(names: tuple[str | None, ...]) -> list[tuple[list[int], Any]]:
        driver = model.driver(stops=False, kv_tokens=4096)
        for seed, name in enumerate("ab", 1):
            driver.core.load_adapter(name, adapter_folder(seed, base=base))
        both, found = FusedDriver(driver), []
        for name in names:
            attrs = {"adapter": name} if name else {}
            fused = both.prefill("lego(4)", "Read this. ", CHUNKS, " Which ships?", **attrs)
            assert isinstance(fused, Result), fused
            (context,) = fused.outputs
            decoded = driver.decode(context, max_tokens=12, ignore_eos=True)
            found.append((decoded.outputs[1].ids[context.num_tokens :], fused.fusion))
        return found

    together = texts((*ADAPTERS, *ADAPTERS))
    alone = [texts((name,))[0] for name in ADAPTERS]
    assert [tokens for tokens, _ in together] == 2 * [tokens for tokens, _ in alone]
    assert len({tuple(tokens) for tokens, _ in alone}) == 3
    assert [report.num_encoded for _, report in together] == [3, 3, 3, 0, 0, 0]


@pytest.mark.parametrize("fusion", ["lego(4)", "lego(4)+alone"])
def test_a_second_turn_reads_chunks_of_its_contexts_adapter(
    load_tiny: Any, adapter_folder: Callable[..., Path], fusion: str
) -> None:
    """Which the second request need not name; nor its tenant. Those of others are not read."""
    base = {"head_dim": 16}
    model, found = load_tiny(**base).moved(kernels="native"), []
    for others in (0, 1):
        driver = model.driver(stops=False, kv_tokens=4096)
        driver.core.load_adapter("a", adapter_folder(1, base=base))
        both = FusedDriver(driver)
        if others:
            for attrs in ({}, {"cache_salt": "ann"}, {"adapter": "a"}):
                both.prefill(fusion, "Read this. ", CHUNKS, " Which ships?", **attrs)
        ann: dict[str, Any] = {"adapter": "a", "cache_salt": "ann"}
        first = driver.call("prefill", None, "Read this. ", **ann).outputs[0]
        fused = both.prefill(fusion, first, CHUNKS, " Which ships?")
        assert isinstance(fused, Result), fused
        assert fused.fusion is not None
        assert fused.fusion.num_encoded == 3
        decoded = driver.decode(fused.outputs[0], max_tokens=12, ignore_eos=True)
        again = both.prefill(fusion, None, CHUNKS, " Which ships?", **ann)
        assert isinstance(again, Result), again
        assert again.fusion is not None
        assert again.fusion.num_encoded == (0 if "alone" in fusion else 3)
        found.append((decoded.outputs[1].ids, fused.outputs[0].table.namespace))
    assert found[0] == found[1]
