"""Adapters and guesses together: rows of a guess go through the adapter of their sequence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
TEXT = "abcabcabcabc"
ADAPTERS = (None, "a", "b")


def ids_of(model: Any, folders: dict[str, Path], **options: Any) -> tuple[list[list[int]], int]:
    speculate = True if options else None
    draft = model if options.get("speculation") == "draft" else None
    driver = model.driver(stops=False, draft=draft, **options)
    for name, folder in folders.items():
        driver.core.load_adapter(name, folder)
    asked = [
        driver.submit("decode", None, TEXT, max_tokens=40, adapter=name, speculate=speculate)
        for name in ADAPTERS
    ]
    results = driver.run(*asked)
    return [r.outputs[1].ids for r in results], sum(r.usage.guessed_tokens for r in results)


@pytest.mark.parametrize("speculation", ["ngram", "draft"])
def test_a_batch_of_adapters_writes_the_same_with_guesses(
    load_tiny: Any, adapter_folder: Callable[..., Path], speculation: str
) -> None:
    base = {"initializer_range": 0.15}
    model = load_tiny(**base)
    folders = {name: adapter_folder(seed, base=base) for seed, name in enumerate("ab", 1)}
    plain, _ = ids_of(model, folders)
    guessed, num_guesses = ids_of(model, folders, speculation=speculation)
    assert guessed == plain
    assert num_guesses > 0
    assert plain[0] != plain[1] != plain[2]
