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
