"""`qdrant://host:6333/collection`, `qdrant:memory`, `qdrant:FOLDER`: documents in qdrant."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from backends.base import Engine, EngineInfo
from backends.errors import ConfigError
from backends.optional import optional_imports
from backends.options import Options, read_options


class QdrantOptions(Options):
    """Options of a store in qdrant."""

    collection: str | None = None  # where the URL names none: "default"; one embedder each
    api_key_env: str = "QDRANT_API_KEY"  # the environment variable that holds a server's key
    average_words: int = Field(default=128, ge=1)  # of a passage: BM25 measures lengths by it
    connections: int = Field(default=16, ge=1)  # at most, of this process
    timeout_s: float = Field(default=60, gt=0)  # of one call
    max_batch_items: int = Field(default=64, ge=1)


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """The store of `url`; `start` connects."""
    settings = read_options(QdrantOptions, f"{kind} {url!r}", options)
    with optional_imports("qdrant"):
        from backends.store.qdrant.address import read_address
        from backends.store.qdrant.calls import Calls, LocalCalls, ServerCalls
        from backends.store.qdrant.documents import QdrantDocuments
    from backends.store.remote_engine import RemoteStore

    address = read_address(url, settings.api_key_env)
    if address.collection and settings.collection:
        raise ConfigError(f"{url!r} names a collection, so leave out collection=")
    collection = address.collection or settings.collection or "default"
    calls: Calls = LocalCalls(address)
    if address.root is not None:
        calls = ServerCalls(address, settings.timeout_s, settings.connections)
    documents = QdrantDocuments(calls, collection, settings.average_words)
    num_slots = 1 if address.root is None else settings.connections
    device = "cpu" if address.root is None else ""
    info = EngineInfo(
        "store",
        address.name,
        settings.max_batch_items,
        num_slots,
        frozenset() if address.name == "qdrant:memory" else frozenset({"keeps"}),
        device=device,
    )
    return RemoteStore(info, collection, documents)
