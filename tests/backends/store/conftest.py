"""The stores that tests run on. PostgreSQL is started once, qdrant runs in this process."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from postgres_server import PASSWORD, PostgresServer
from store_testing import CAPITALS, PLANE, Store, ingest

from backends.registry import EngineSpec, create

_names = count(1)
STORES = ["memory", "disk", "qdrant", pytest.param("postgres", marks=pytest.mark.server)]


@pytest.fixture(scope="session")
def _server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres(_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    """It runs, and its password is in the environment."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    return _server


@pytest.fixture
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> EngineSpec:
    """A store that nobody else uses; in a database it has a schema of its own."""
    match request.param:
        case "memory":
            return EngineSpec("store", "local:")
        case "disk":
            return EngineSpec("store", f"local:{tmp_path / 'store'}")
        case "qdrant":
            return EngineSpec("store", "qdrant:memory")
    options: dict[str, Any] = {"schema_name": f"test {next(_names)}"}
    return EngineSpec("store", request.getfixturevalue("postgres").url, options)


@pytest.fixture
def store(spec: EngineSpec) -> Iterator[Store]:
    opened = Store(create(spec))
    yield opened
    opened.close()


@pytest.fixture
def capitals(store: Store) -> Store:
    store.run(ingest(CAPITALS, PLANE))
    return store


@pytest.fixture
def few_old_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were replaced are forgotten soon."""
    for module in ("runner", "postgres.changes", "qdrant.changes"):
        monkeypatch.setattr(f"backends.store.{module}.OLD_ROWS", 2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of `store` runs on each; a test that compares with `local` on all others."""
    if "spec" in metafunc.fixturenames:
        stores = STORES[1:] if "local" in metafunc.fixturenames else STORES
        metafunc.parametrize("spec", stores, indirect=True)
