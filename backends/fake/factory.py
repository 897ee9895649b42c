"""From `fake:` to a fake engine of the wanted kind."""

from collections.abc import Mapping
from typing import Any

from backends.base import Engine
from backends.fake.engine import FakeEngine
from backends.fake.llm import FakeLLM
from backends.fake.python import FakePython
from backends.fake.retrieval import FakeEmbedder, FakeReranker, FakeStore

ENGINES: dict[str, type[FakeEngine]] = {
    "llm": FakeLLM,
    "embedder": FakeEmbedder,
    "reranker": FakeReranker,
    "store": FakeStore,
    "python": FakePython,
}


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """A fake engine; see the classes for their options."""
    return ENGINES[kind](url, options)
