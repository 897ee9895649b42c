"""One server for all tests of this folder, installed on first use (3.5 GB in teola's cache folder).

The tests are skipped only where it cannot be installed. `TEOLA_TEST_VLLM_URL=vllm://HOST:PORT/MODEL`
takes a server that runs already.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from live_server import MODEL, Engines, GivenServer, LiveServer, RunningServer, Scenario

from backends.errors import ConfigError, EngineUnavailable
from teola.launching.environments import environment_of, install
from teola.launching.served_model import served_model

EMBEDDED = {"dtype": "float32", "threads": 1}


@pytest.fixture(scope="package")
def vllm() -> Iterator[RunningServer]:
    if given := os.environ.get("TEOLA_TEST_VLLM_URL"):
        yield GivenServer(given)
        return
    try:
        python = install(environment_of("vllm", is_cpu=True), lambda _: None)
    except (ConfigError, EngineUnavailable) as error:
        pytest.skip(f"vLLM's CPU build cannot be installed here: {error}")
    server = LiveServer(python, served_model(MODEL, lambda _: None))
    yield server
    server.stop()


@pytest.fixture(scope="package")
def engines(vllm: RunningServer) -> Iterator[Engines]:
    """Closed before the server is stopped."""
    made = Engines()
    yield made
    made.close()


@pytest.fixture
def on_server(vllm: RunningServer, engines: Engines) -> Callable[..., Any]:
    """Runs a scenario on the server's engine, in token mode where no option says otherwise."""

    def run(scenario: Scenario, **options: Any) -> Any:
        return engines.run(vllm.url, options, scenario)

    return run


@pytest.fixture
def on_both(on_server: Callable[..., Any], engines: Engines) -> Callable[..., Any]:
    """Runs a scenario on the server and on the embedded engine; both must give the same."""

    def run(scenario: Scenario) -> Any:
        theirs = on_server(scenario)
        assert theirs == engines.run(f"local:{MODEL}", EMBEDDED, scenario)
        return theirs

    return run
