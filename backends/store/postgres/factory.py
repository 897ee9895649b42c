"""`postgresql://user@host/database`: documents in PostgreSQL with pgvector."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from backends.base import Engine, EngineInfo
from backends.errors import ConfigError
from backends.optional import optional_imports
from backends.options import Options, read_options


class PostgresOptions(Options):
    """Options of a store in PostgreSQL."""

    collection: str | None = None  # where the URL names none: "default"; one embedder each
    schema_name: str = "teola"  # the schema that holds the tables
    url_env: str | None = None  # the environment variable that holds the whole URL
    index_above: int | None = Field(default=10_000, ge=0)  # documents; None: always exact
    connections: int = Field(default=8, ge=1)  # at most, of this process
    connect_timeout_s: float = Field(default=10, gt=0)
    timeout_s: float = Field(default=60, gt=0)  # of one request
    max_batch_items: int = Field(default=64, ge=1)


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """The store of `url`; `start` connects."""
    settings = read_options(PostgresOptions, f"{kind} {url.partition(':')[0]!r}", options)
    with optional_imports("postgres"):
        from backends.store.postgres.address import read_address
        from backends.store.postgres.connections import Connections
        from backends.store.postgres.documents import PostgresDocuments
    from backends.store.remote_engine import RemoteStore

    address = read_address(url, settings.url_env)
    if address.collection and settings.collection:
        raise ConfigError("the URL names a collection, so leave out collection=")
    connections = Connections(
        address, settings.connections, settings.connect_timeout_s, settings.timeout_s
    )
    collection = address.collection or settings.collection or "default"
    documents = PostgresDocuments(
        connections, settings.schema_name, collection, settings.index_above
    )
    info = EngineInfo(
        "store",
        address.name,
        settings.max_batch_items,
        settings.connections,
        frozenset({"keeps"}),
    )
    return RemoteStore(info, collection, documents)
