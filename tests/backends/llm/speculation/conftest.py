"""A tiny model whose answers run into loops."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def tiny_loops(load_tiny: Any) -> Any:
    return load_tiny(
        head_dim=16, num_attention_heads=2, num_key_value_heads=1, initializer_range=0.15
    )
