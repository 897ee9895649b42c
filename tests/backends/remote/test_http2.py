"""HTTP/2 where TLS offers it, and where it is asked for."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
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
        self.num_open = 0
        self.num_asked = 0  # requests that came over HTTP/2
        self.may_answer = asyncio.Event()  # to /slow; /never is never answered

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        self.num_open += 1
        tls = writer.get_extra_info("ssl_object")
        try:
            if tls is not None and tls.selected_alpn_protocol() != "h2":
                await self._old(reader, writer)
            else:
                await self._new(reader, writer)
        finally:
            self.num_open -= 1
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
        paths: dict[int, bytes] = {}
        waiting: list[asyncio.Task[None]] = []
        while content := await reader.read(65536):
            for event in http.receive_data(content):
                if isinstance(event, h2.events.RequestReceived):
                    paths[event.stream_id] = dict(event.headers)[b":path"]
                if isinstance(event, h2.events.StreamEnded):
                    path = paths[event.stream_id]
                    self.num_asked += 1
                    if path == b"/slow":
                        waiting.append(
                            asyncio.create_task(self._later(http, event.stream_id, writer))
                        )
                    elif path != b"/never":
                        _answer(http, event.stream_id)
            writer.write(http.data_to_send())

    async def _later(self, http: Any, stream_id: int, writer: asyncio.StreamWriter) -> None:
        await self.may_answer.wait()
        _answer(http, stream_id)
        writer.write(http.data_to_send())


def _answer(http: Any, stream_id: int) -> None:
    http.send_headers(stream_id, [(":status", "200")])
    http.send_data(stream_id, b'{"version": 2}', end_stream=True)


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


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """Offers both versions."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def talk(
    scheme: str,
    tls: ssl.SSLContext | None,
    work: Callable[[Client, H2Server], Awaitable[Any]],
    **options: Any,
) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(60), nothing_left(), serving(tls) as (server, address):
            (endpoint,) = parse_url(f"{scheme}://{address}/m").endpoints
            client = Client(endpoint, RemoteOptions(retries=0, **options))
            try:
                return await work(client, server)
            finally:
                await client.close()

    return asyncio.run(main())


async def eleven_embeddings(client: Client, server: H2Server) -> tuple[set[int], int]:
    """The HTTP versions of ten requests at once after a first, and how many connections."""
    first = await client.post("/v1/x", {}, is_safe=True)
    posts = (client.post("/v1/x", {"n": n}, is_safe=True) for n in range(10))
    found = [first, *await asyncio.gather(*posts)]
    return {answer["version"] for answer in found}, server.num_connections


def test_one_connection_carries_all_requests_where_tls_offers_http2(
    tls: ssl.SSLContext, ca_file: Path
) -> None:
    assert talk("vllm+https", tls, eleven_embeddings, ca_file=ca_file) == ({2}, 1)


def test_a_server_that_does_not_offer_it_is_spoken_to_as_before(
    tls: ssl.SSLContext, ca_file: Path
) -> None:
    tls.set_alpn_protocols(["http/1.1"])
    versions, _ = talk("vllm+https", tls, eleven_embeddings, ca_file=ca_file)

    assert versions == {1}


def test_it_can_be_switched_off(tls: ssl.SSLContext, ca_file: Path) -> None:
    versions, _ = talk("vllm+https", tls, eleven_embeddings, ca_file=ca_file, http2=False)

    assert versions == {1}


def test_it_can_be_forced_without_tls() -> None:
    assert talk("vllm", None, eleven_embeddings, http2=True) == ({2}, 1)


async def one_repeatable_generation(client: Client, server: H2Server) -> int:
    answer = await client.post("/v1/completions", {}, is_safe=True)
    version: int = answer["version"]
    return version


def test_a_generation_that_may_be_sent_again_has_a_connection_of_its_own_too(
    tls: ssl.SSLContext, ca_file: Path
) -> None:
    assert talk("vllm+https", tls, one_repeatable_generation, ca_file=ca_file) == 1


async def one_generation(client: Client, server: H2Server) -> int:
    answer = await client.post("/v1/x", {}, is_safe=False)
    version: int = answer["version"]
    return version


def test_a_generation_goes_over_a_connection_of_its_own_whose_end_stops_it(
    tls: ssl.SSLContext, ca_file: Path
) -> None:
    assert talk("vllm+https", tls, one_generation, ca_file=ca_file) == 1
    assert talk("vllm", None, one_generation, http2=True) == 2  # forced: it runs to its end


def test_a_connection_of_which_an_answer_was_given_up_takes_no_more_requests() -> None:
    async def work(client: Client, server: H2Server) -> None:
        running = asyncio.create_task(client.post("/slow", {}, is_safe=True))
        given_up = asyncio.create_task(client.post("/never", {}, is_safe=True))
        while server.num_asked < 2:
            await asyncio.sleep(0.001)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert await client.post("/v1/x", {}, is_safe=True) == {"version": 2}
        assert server.num_connections == 2
        assert server.num_open == 2
        server.may_answer.set()
        assert await running == {"version": 2}  # what runs on the first ends well
        while server.num_open > 1:
            await asyncio.sleep(0.001)

    talk("vllm", None, work, http2=True)


def test_no_key_is_logged_with_the_headers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)

    talk("vllm", None, eleven_embeddings, http2=True)

    assert "httpcore" in {record.name.partition(".")[0] for record in caplog.records}
    assert KEY not in caplog.text


def test_without_its_package_forcing_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    (endpoint,) = parse_url("vllm://h/m").endpoints

    with pytest.raises(ConfigError, match=r'pip install "teola\[http2\]"'):
        asyncio.run(Client(endpoint, RemoteOptions(http2=True)).get("/"))
