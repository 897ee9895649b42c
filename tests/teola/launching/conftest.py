"""A cache folder of its own for each test, and a program that stands in for a server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_in_server import StandIn, make_stand_in

from backends.processes.process_group import is_alive
from teola.launching import launch, records


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No server of a test outlives it."""
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path / "cache"))
    yield
    left = [record for record in records.running() if is_alive(record.pid)]
    for record in left:
        launch.stop_group(record.pid, grace_s=0.1)
    assert not left


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return make_stand_in(tmp_path)
