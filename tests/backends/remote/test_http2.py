"""HTTP/2 where TLS offers it, and where it is asked for."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
import trustme
from fault_server import nothing_left

from backends.errors import ConfigError
from backends.remote import connection
from backends.remote.client import Client
from backends.remote.options import RemoteOptions
from backends.remote.url import parse_url

KEY = "sk-very-secret-http2"


class H2Server:
    """Answers every request with its HTTP version; over HTTP/1.1 where the client chose that."""

    def __init__(self) -> None:
        self.num_connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        tls = writer.get_extra_info("ssl_object")
        try:
            if tls is not None and tls.selected_alpn_protocol() != "h2":
                await self._old(reader, writer)
            else:
                await self._new(reader, writer)
        finally:
            writer.close()

    async def _old(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"HTTP/1.1" in head
        body = b'{"version": 1}'
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + body)
        await writer.drain()

    async def _new(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        http.initiate_connection()
        writer.write(http.data_to_send())
        while content := await reader.read(65536):
            for event in http.receive_data(content):
                if isinstance(event, h2.events.StreamEnded):
                    http.send_headers(event.stream_id, [(":status", "200")])
                    http.send_data(event.stream_id, b'{"version": 2}', end_stream=True)
            writer.write(http.data_to_send())


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None) -> AsyncIterator[tuple[H2Server, str]]:
    server = H2Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server, f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await listening.wait_closed()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def answers(
    scheme: str, protocols: list[str] | None, authority: trustme.CA, folder: Path, **options: Any
) -> tuple[list[Any], int]:
    """Of ten requests at once after a first, and how many connections they took."""
    tls = None
    if protocols is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        tls.set_alpn_protocols(protocols)
        options["ca_file"] = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(options["ca_file"]))

    async def main() -> tuple[list[Any], int]:
        async with asyncio.timeout(10), nothing_left(), serving(tls) as (server, address):
            (endpoint,) = parse_url(f"{scheme}://{address}/m").endpoints
            client = Client(endpoint, RemoteOptions(retries=0, **options))
            first = await client.post("/v1/x", {}, is_safe=False)
            posts = (client.post("/v1/x", {"n": n}, is_safe=False) for n in range(10))
            found = await asyncio.gather(*posts)
            await client.close()
            return [first, *found], server.num_connections

    return asyncio.run(main())


def test_one_connection_carries_all_requests_where_tls_offers_http2(
    authority: trustme.CA, tmp_path: Path
) -> None:
    found = answers("vllm+https", ["h2", "http/1.1"], authority, tmp_path)

    assert found == ([{"version": 2}] * 11, 1)


def test_a_server_that_does_not_offer_it_is_spoken_to_as_before(
    authority: trustme.CA, tmp_path: Path
) -> None:
    versions, _ = answers("vllm+https", ["http/1.1"], authority, tmp_path)

    assert versions == [{"version": 1}] * 11


def test_it_can_be_switched_off(authority: trustme.CA, tmp_path: Path) -> None:
    versions, _ = answers("vllm+https", ["h2", "http/1.1"], authority, tmp_path, http2=False)

    assert versions == [{"version": 1}] * 11


def test_it_can_be_forced_without_tls(authority: trustme.CA, tmp_path: Path) -> None:
    found = answers("vllm", None, authority, tmp_path, http2=True)

    assert found == ([{"version": 2}] * 11, 1)


def test_no_key_is_logged_with_the_headers(
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)

    answers("vllm", None, authority, tmp_path, http2=True)

    assert "httpcore" in {record.name.partition(".")[0] for record in caplog.records}
    assert KEY not in caplog.text


def test_without_its_package_forcing_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    (endpoint,) = parse_url("vllm://h/m").endpoints

    with pytest.raises(ConfigError, match=r'pip install "teola\[http2\]"'):
        asyncio.run(Client(endpoint, RemoteOptions(http2=True)).get("/"))
