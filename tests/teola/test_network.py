"""`tl.deny_network`: nothing reaches another machine."""

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

import teola as tl
from teola.errors import NetworkDenied, NodeFailed
from teola.network import is_loopback

TEST_NET = "192.0.2.1"  # reserved for documentation: nobody is there


def test_the_host_of_a_connection_is_named() -> None:
    with tl.deny_network(), socket.socket() as sock:
        with pytest.raises(NetworkDenied, match=f"connects to '{TEST_NET}' inside tl.deny_network"):
            sock.connect((TEST_NET, 80))
        with pytest.raises(NetworkDenied, match="'example.com'"):
            socket.getaddrinfo("example.com", 80)
    denied = pytest.raises(NetworkDenied, match=TEST_NET)
    with socket.socket(type=socket.SOCK_DGRAM) as sock, tl.deny_network(), denied:
        sock.sendto(b"x", (TEST_NET, 53))


def test_this_machine_is_reached_unless_loopback_is_denied_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with tl.deny_network(), socket.create_connection(address):
            pass
        with (
            tl.deny_network(loopback=False),
            pytest.raises(NetworkDenied, match=r"'127.0.0.1'.*allow=\['127.0.0.1'\]"),
        ):
            socket.create_connection(address)
        with (
            tl.deny_network(loopback=False, allow=["127.0.0.1"]),
            socket.create_connection(address),
        ):
            pass


def test_it_holds_for_other_threads_and_loops_and_ends_with_the_block() -> None:
    caught: list[BaseException] = []

    def connect() -> None:
        try:
            socket.getaddrinfo("example.com", 80)
        except NetworkDenied as error:
            caught.append(error)

    async def fetch() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get("http://example.com")

    with tl.deny_network():
        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
        assert len(caught) == 1
        with pytest.raises(NetworkDenied, match="'example.com'"):
            asyncio.run(fetch())
        with tl.deny_network(allow="example.com"), pytest.raises(NetworkDenied):
            socket.getaddrinfo("example.com", 80)  # the outer block still denies it
    with socket.socket() as sock:
        sock.settimeout(0.01)
        with pytest.raises(OSError):  # the system's own error again
            sock.connect((TEST_NET, 80))


def test_an_app_that_needs_a_server_fails_with_its_host() -> None:
    llm = tl.LLM("openai://models.example.com/v1/small")

    @tl.prompt(llm)
    def ask(question: str) -> str:
        return question

    @tl.app
    def app(question: str) -> str:
        return ask(question)

    with tl.deny_network(), pytest.raises(NodeFailed, match=r"'models.example.com'.*tl.fake"):
        app("x")
    with tl.deny_network(), tl.fake(llm, "fine"):
        assert app("x") == "fine"


def test_a_model_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.models.fetch import fetch

    monkeypatch.setenv("TEOLA_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with tl.deny_network(), pytest.raises(Exception, match="deny_network") as caught:
        fetch("hf:nobody/nothing")
    assert isinstance(caught.value, NetworkDenied) or "connects to" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.3.4.5", True),
        ("::1", True),
        ("api.localhost", True),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("0x7f.example", False),
        ("fe80::1%eth0", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_users_get_a_fixture(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["teola.pytest_fixtures"]\n')
    (tmp_path / "test_mine.py").write_text(
        """
import socket
import pytest
from teola.errors import NetworkDenied

def test_it(deny_network):
    with pytest.raises(NetworkDenied):
        socket.getaddrinfo("example.com", 80)
"""
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done: Any = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
