"""KV of as many tokens as model and memory allow; numbers where they do not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from backends.errors import ConfigError, EngineUnavailable
from backends.llm import loader
from backends.llm.kv.pool_size import MOST_TOKENS, cpu_kv_tokens
from backends.llm.options import LLMOptions

GIB = 1 << 30
BIG = 512 * 1024  # bytes a token of a 7B model without grouped heads


def test_a_small_model_has_the_most_tokens_and_a_large_one_a_quarter_of_the_memory() -> None:
    assert cpu_kv_tokens(None, 23_040, 8 * GIB) == MOST_TOKENS
    assert cpu_kv_tokens(None, BIG, 10 * GIB) == 10 * GIB // 4 // BIG == 5120
    assert cpu_kv_tokens(None, BIG, None) == MOST_TOKENS


def test_what_was_asked_for_is_given_or_refused_with_numbers() -> None:
    assert cpu_kv_tokens(20_000, BIG, 10 * GIB) == 20_000
    with pytest.raises(
        ConfigError, match=r"kv_tokens=30000 takes 14\.6 GiB, and 10\.0 GiB .*20480"
    ):
        cpu_kv_tokens(30_000, BIG, 10 * GIB)


def test_too_little_memory_for_any_kv_is_said() -> None:
    with pytest.raises(EngineUnavailable, match=r"0\.5 GiB of memory are left.*256 tokens"):
        cpu_kv_tokens(None, BIG, GIB // 2)


def test_a_loaded_engine_keeps_to_the_memory_there_is(
    tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "available_bytes", lambda: 4 * 1000 * 256)
    core = loader.load_core(tiny_folder(), LLMOptions(dtype="float32"))
    assert core.cache.pool.num_tokens == 1000 // 16 * 16
    with pytest.raises(ConfigError, match="kv_tokens=1000000 takes"):
        loader.load_core(tiny_folder(), LLMOptions(kv_tokens=1_000_000))
