"""A text that no context can hold is refused by its bytes, and never tokenised."""

from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from backends.base import Tokens, Turn
from backends.errors import RequestTooLong
from backends.llm.text.token_bytes import longest_token_bytes


def never(*_: object, **__: object) -> Any:
    raise AssertionError("a text is tokenised")


def test_an_endless_text_is_refused_before_it_is_tokenised(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tiny.driver()
    monkeypatch.setattr(type(tiny.tokenizer), "encode_text", never)
    with pytest.raises(RequestTooLong, match=r"10000000 bytes; 512 tokens.* 13 bytes each"):
        driver.prefill(None, "x" * 10_000_000)
    many = [part for _ in range(1000) for part in (Turn("user"), "x" * 100, Turn("assistant"))]
    with pytest.raises(RequestTooLong, match="100000 bytes"):
        driver.prefill(None, *many)
    with pytest.raises(RequestTooLong, match="12 tokens, which"):
        driver.prefill(None, Tokens((1,) * 500), "x" * 500)


def test_what_a_context_holds_counts_too(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "x" * 500)
    monkeypatch.setattr(type(tiny.tokenizer), "encode_text", never)
    with pytest.raises(RequestTooLong, match="12 tokens, which"):
        driver.prefill(context, "x" * 500)


def test_the_longest_text_that_fits_is_taken(tiny: Any) -> None:
    assert driver_context(tiny, "x" * 511) == 511


def driver_context(tiny: Any, text: str) -> int:
    return int(tiny.driver().prefill(None, text).num_tokens)


def test_a_tokenizer_that_shortens_text_has_a_wider_bound() -> None:
    rust = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel()
    assert longest_token_bytes(rust) == 2
    rust.normalizer = normalizers.NFC()
    assert longest_token_bytes(rust) == 8  # three combining characters may become one
    rust.normalizer = normalizers.Strip()
    assert longest_token_bytes(rust) == 1024
    rust.normalizer = None
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    assert longest_token_bytes(rust) == 1024
