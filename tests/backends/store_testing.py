"""What tests of stores share: requests, documents, and an engine without its asynchrony."""

import asyncio
from typing import Any

import numpy as np

from backends.base import Engine, Outcome, Request, Result
from backends.documents import Doc, Index
from backends.errors import EngineUnavailable, RequestRejected

CAPITALS = [
    Doc("Paris is the capital of France", "fr", metadata={"continent": "europe", "size": 2}),
    Doc("Berlin is the capital of Germany", "de", metadata={"continent": "europe", "size": 3}),
    Doc("Tokyo is the capital of Japan", "jp", metadata={"continent": "asia", "size": 14}),
    Doc("Bananas are yellow", "bananas", metadata={"size": 0}),
]


PLANE = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], np.float32)


EAST, NORTH = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


def ingest(docs: Any, vectors: Any = None) -> Request:
    return Request("0" * 32, "ingest", (docs, vectors))


def search(query: Any, vector: Any = None, index: Any = None, **attrs: Any) -> Request:
    return Request("1" * 32, "search", (index, query, vector), attrs)


def delete(ids: Any = None, sources: Any = None, kept: Any = None, **attrs: Any) -> Request:
    return Request("3" * 32, "delete", (ids, sources, kept), attrs)


COUNT = Request("4" * 32, "count", ())


def names(index: Index) -> list[str]:
    """The documents that an index holds the rows of."""
    assert index.ids is not None
    return [key.rpartition("@")[0] for key in index.ids]


class Store:
    """A started engine with the asynchrony taken away."""

    def __init__(self, engine: Engine) -> None:
        self.loop = asyncio.Runner()
        self.engine = engine
        try:
            self.loop.run(engine.start())
        except EngineUnavailable:
            self.loop.close()
            raise

    def run(self, *requests: Request) -> list[Outcome]:
        return self.loop.run(self.engine.execute(requests))

    def value(self, request: Request) -> Any:
        (outcome,) = self.run(request)
        assert isinstance(outcome, Result), outcome
        return outcome.outputs[0]

    def ids(self, request: Request) -> list[str]:
        return [doc.id for doc in self.value(request)]

    def error(self, request: Request) -> str:
        (outcome,) = self.run(request)
        assert isinstance(outcome, RequestRejected), outcome
        return str(outcome)

    def close(self) -> None:
        self.loop.run(self.engine.close())
        self.loop.close()
