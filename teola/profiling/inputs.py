"""Made-up inputs for engines that are measured; other ones each time, so that no cache has them."""

import random
from typing import Any
from uuid import uuid4

import numpy as np

from backends.base import Request
from backends.documents import Doc

_DIMENSIONS = 384
_WORDS = ("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world")


def text(num_chars: int) -> str:
    """English words, another text each time, so that no cache has it."""
    words = [uuid4().hex[:6]]
    while sum(map(len, words)) + len(words) < num_chars:
        words.append(random.choice(_WORDS))
    return " ".join(words)[:num_chars]


def request_of(op: str, *inputs: Any, num_items: int = 1, **attrs: Any) -> Request:
    """A request with an id of its own."""
    return Request(uuid4().hex, op, inputs, attrs, num_items)


def docs_of(num_items: int, num_chars: int) -> list[Doc]:
    """So many new documents of so many characters."""
    return [Doc(text(num_chars), id=uuid4().hex) for _ in range(num_items)]


def embed(num_items: int, num_chars: int) -> Request:
    """So many texts to embed, of so many characters."""
    return request_of("embed", [text(num_chars) for _ in range(num_items)], num_items=num_items)


def rerank(num_items: int, num_chars: int) -> Request:
    """So many documents to rerank, of so many characters."""
    docs = docs_of(num_items, num_chars)
    return request_of("rerank", "how many people go to school", docs, num_items=num_items)


def vectors(num_rows: int) -> Any:
    """float32 [num_rows, 384], of unit length."""
    rows = np.random.default_rng().standard_normal((num_rows, _DIMENSIONS)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def words(count: int) -> str:
    """So many words, of about a token each; another text each time."""
    chosen = [str(random.randrange(1000)), *random.choices(_WORDS, k=max(0, count - 1))]
    return " ".join(chosen[:count])
