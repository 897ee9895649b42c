"""Servers in processes of their own: one made with the SDK alone, one with `tl.mcp.serve`."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import teola as tl

HERE = Path(__file__).parent
SDK_SERVER = [sys.executable, str(HERE / "sdk_server.py")]
OUR_SERVER = [sys.executable, str(HERE / "mcp_apps.py")]


@pytest.fixture(scope="session")
def sdk_tools() -> Iterator[tl.mcp.McpTools]:
    with tl.mcp.tools(SDK_SERVER) as tools:
        yield tools


@pytest.fixture(scope="session")
def http_url() -> Iterator[str]:
    """Our apps over HTTP on a free port."""
    command = [*OUR_SERVER, "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = next(line for line in server.stderr if "serving MCP on" in line)
        yield line.split()[-1]
        server.terminate()
        server.wait(20)


@pytest.fixture(autouse=True)
def _our_code_in_child_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE.parents[2]))
