"""The client against a server that fails in every way: a typed error or recovery, and no leak."""

import asyncio
import ssl
from collections.abc import Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme
from fault_server import (
    CLOSE,
    HANG,
    RESET,
    Answer,
    FaultServer,
    Reply,
    as_bytes,
    as_json,
    broken,
    dripping,
    events,
    failing,
    head,
    hung,
    json_lines,
    nothing_left,
    overloaded,
    refusing_port,
    truncated,
)

from backends.errors import (
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)
from backends.remote.client import Client
from backends.remote.options import RemoteOptions
from backends.remote.url import parse_url

OK = as_json({"ok": True})
STREAM = events({"n": 1}, {"n": 2})


def client_of(url: str, **options: Any) -> Client:
    (endpoint,) = parse_url(url).endpoints
    return Client(endpoint, RemoteOptions(**{"retries": 0, **options}))


async def posted(client: Client, *, is_safe: bool = True, path: str = "/v1/x") -> Any:
    try:
        return await client.post(path, {"q": 1}, is_safe=is_safe)
    except EngineError as error:
        return error


async def streamed(client: Client, *, is_safe: bool = False) -> list[Any]:
    """The events, and the error that ended them."""
    found: list[Any] = []
    try:
        async with client.stream("/v1/x", {"q": 1}, is_safe=is_safe) as answer:
            async for event in answer:
                found.append(event)  # noqa: PERF401 - those before an error count
    except EngineError as error:
        found.append(error)
    return found


def run(main: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(60), nothing_left():
            return await main

    return asyncio.run(bounded())


def answer_of(*replies: Reply, is_safe: bool = True, **options: Any) -> tuple[Any, FaultServer]:
    """What a client makes of a server's answers, and the server."""

    async def main() -> tuple[Any, FaultServer]:
        async with FaultServer(*replies) as server:
            client = server.client(**options)
            found = await posted(client, is_safe=is_safe)
            await client.close()
            return found, server

    found: tuple[Any, FaultServer] = run(main())
    return found


def events_of(*replies: Reply, is_safe: bool = False, **options: Any) -> list[Any]:
    async def main() -> list[Any]:
        async with FaultServer(*replies) as server:
            client = server.client(**options)
            found = await streamed(client, is_safe=is_safe)
            await client.close()
            return found

    found: list[Any] = run(main())
    return found


def error_of(*replies: Reply, **options: Any) -> EngineError:
    found, _ = answer_of(*replies, **options)
    assert isinstance(found, EngineError), found
    assert str(found).startswith("POST http://127.0.0.1:"), found
    return found


def test_json_is_sent_and_read() -> None:
    found, server = answer_of(OK)

    assert found == {"ok": True}
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/x", {"q": 1})
    assert seen.headers["content-type"] == "application/json"


def test_requests_share_connections() -> None:
    async def main() -> int:
        async with FaultServer(OK) as server:
            client = server.client()
            for _ in range(5):
                await client.post("/v1/x", {}, is_safe=True)
            await client.close()
            return server.num_connections

    assert run(main()) == 1


def test_no_more_connections_than_the_concurrency_and_a_few() -> None:
    slow = Answer((0.02, *OK.steps))

    async def main() -> int:
        async with FaultServer(slow) as server:
            client = server.client(concurrency=2)
            await asyncio.gather(*(client.post("/v1/x", {}, is_safe=True) for _ in range(40)))
            await client.close()
            return server.num_connections

    assert run(main()) == 10


def test_a_refused_connection_is_unavailable() -> None:
    client = client_of(f"vllm://127.0.0.1:{refusing_port()}/m")

    async def main() -> Any:
        try:
            return await posted(client)
        finally:
            await client.close()

    error = run(main())
    assert isinstance(error, EngineUnavailable)
    assert "is the server running" in str(error)


def test_a_host_without_an_address_is_unavailable() -> None:
    client = client_of("vllm://no-such-host.invalid:8000/m", connect_timeout_s=5)

    async def main() -> Any:
        try:
            return await posted(client)
        finally:
            await client.close()

    error = run(main())
    assert isinstance(error, EngineUnavailable)
    assert "no-such-host.invalid" in str(error)


@pytest.mark.parametrize(
    "reply",
    [
        broken,
        Answer((CLOSE,)),
        Answer((b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", RESET)),
        truncated({"some": "content"}),
        Answer((b"SSH-2.0-OpenSSH_9\r\n\r\n", CLOSE)),
        Answer((b"\x15\x03\x01\x00\x02\x02\x46", CLOSE)),
    ],
    ids=["reset", "closed", "reset in the body", "truncated", "not HTTP", "TLS alert"],
)
def test_a_connection_that_breaks_is_unavailable(reply: Answer) -> None:
    assert isinstance(error_of(reply, retries=0), EngineUnavailable)


@pytest.mark.parametrize(
    "reply",
    [hung, Answer((head(200, {"content-length": "9"}), b"{", HANG))],
    ids=["no answer", "in the body"],
)
def test_a_silent_server_is_given_up_after_the_read_timeout(reply: Answer) -> None:
    error = error_of(reply, read_timeout_s=0.05)

    assert isinstance(error, EngineUnavailable)
    assert "read_timeout_s" in str(error)


def test_a_slow_loris_is_given_up_after_the_whole_timeout() -> None:
    error = error_of(dripping({"ok": "x" * 500}, 0.02), read_timeout_s=5, timeout_s=0.2)

    assert isinstance(error, EngineUnavailable)
    assert "timeout_s" in str(error)


def test_a_call_may_have_less_time_than_the_option() -> None:
    async def main() -> Any:
        async with FaultServer(hung) as server:
            client = server.client()
            with pytest.raises(EngineUnavailable, match="timeout_s"):
                await client.post("/v1/x", {}, is_safe=True, timeout_s=0.05)
            await client.close()

    run(main())


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (as_bytes(b"{'single': 1}"), "not JSON: \"{'single'"),
        (as_bytes(b'{"cut": '), "not JSON"),
        (as_bytes(b"<html>Login</html>", content_type="text/html"), "text/html, not JSON"),
        (as_bytes(b"\xff\xfe"), "not JSON"),
        (as_json({"error": "broke inside"}), "broke inside"),
        (failing(500, "CUDA out of memory"), "500: CUDA out of memory"),
        (as_bytes(b"<html>no</html>", 500, "text/html"), "500"),
        (as_json({}, 307, location="https://evil.example/x"), "it redirects to https://evil"),
        (as_bytes(b"not compressed", content_encoding="gzip"), "compression"),
    ],
)
def test_an_answer_that_is_not_as_asked_is_an_error_of_the_engine(
    reply: Answer, words: str
) -> None:
    error = error_of(reply)

    assert type(error) is EngineError
    assert words in str(error)


def test_json_of_another_content_type_is_read_all_the_same() -> None:
    assert answer_of(as_bytes(b'{"ok": 1}', content_type="text/plain"))[0] == {"ok": 1}


def test_an_empty_answer_is_none() -> None:
    assert answer_of(as_bytes(b""))[0] is None


def test_what_the_server_rejects_is_not_sent_again() -> None:
    found, server = answer_of(failing(400, "top_k must be positive"))

    assert isinstance(found, RequestRejected)
    assert "top_k must be positive" in str(found)
    assert len(server.seen) == 1


def test_a_request_that_does_not_fit_is_too_long() -> None:
    assert isinstance(
        error_of(failing(400, "This model's maximum context length is 8 tokens")), RequestTooLong
    )


def test_what_cannot_be_written_as_json_is_rejected_before_it_is_sent() -> None:
    async def main() -> int:
        async with FaultServer(OK) as server:
            client = server.client()
            for body in ({"x": float("nan")}, {"x": object()}, {"x": "\ud800"}):
                with pytest.raises(RequestRejected, match="written as JSON"):
                    await client.post("/v1/x", body, is_safe=True)
            return len(server.seen)

    assert run(main()) == 0


def test_an_overloaded_server_is_asked_again_when_it_says_so() -> None:
    found, server = answer_of(overloaded("0.01"), overloaded("0", 503), OK, is_safe=False)

    assert found == {"ok": True}
    assert len(server.seen) == 3


def test_a_refusal_goes_to_whoever_plans_with_the_servers_limits() -> None:
    async def main() -> tuple[Any, Any]:
        async with FaultServer(overloaded("0"), failing(429), OK) as server:
            client = server.client()
            client.on_rates = lambda report: None
            found = await posted(client), await posted(client)
            await client.close()
            return found

    refused, repeated = run(main())
    assert isinstance(refused, EngineOverloaded)
    assert repeated == {"ok": True}  # the server did not say when


def test_an_overloaded_server_stays_an_error_when_its_time_is_after_the_timeout() -> None:
    found, server = answer_of(overloaded("60"), timeout_s=5)

    assert isinstance(found, EngineOverloaded)
    assert found.retry_after_s == 60
    assert len(server.seen) == 1


def test_a_503_without_a_time_is_only_repeated_when_that_is_safe() -> None:
    found, server = answer_of(failing(503), OK, is_safe=False)
    assert isinstance(found, EngineOverloaded)
    assert len(server.seen) == 1

    assert answer_of(failing(503), OK, is_safe=True)[0] == {"ok": True}


def test_a_reset_is_only_repeated_when_that_is_safe() -> None:
    found, server = answer_of(broken, OK, is_safe=False)
    assert isinstance(found, EngineUnavailable)
    assert len(server.seen) == 1

    assert answer_of(broken, OK, is_safe=True)[0] == {"ok": True}


def test_there_are_no_more_repetitions_than_the_option() -> None:
    found, server = answer_of(broken, retries=3)

    assert isinstance(found, EngineUnavailable)
    assert len(server.seen) == 4


def test_a_timeout_is_not_repeated() -> None:
    found, server = answer_of(hung, read_timeout_s=0.5)

    assert isinstance(found, EngineUnavailable)
    assert len(server.seen) == 1


def test_a_server_that_is_killed_and_started_again_is_found_again() -> None:
    async def main() -> None:
        async with FaultServer(OK) as server:
            client = server.client(retries=0)
            assert await posted(client) == {"ok": True}
            await server.stop()
            assert isinstance(await posted(client), EngineUnavailable)
            await server.start()
            assert await posted(client) == {"ok": True}
            await client.close()

    run(main())


def test_a_server_that_comes_up_while_it_is_asked_is_reached_by_a_retry() -> None:
    async def main() -> None:
        async with FaultServer(OK) as server:
            client = server.client(retries=100)
            client._retry = type(client._retry)(100, draw=lambda: 0.01)
            await server.stop()
            asking = asyncio.create_task(posted(client, is_safe=False))
            await asyncio.sleep(0.02)
            await server.start()
            assert await asking == {"ok": True}
            await client.close()

    run(main())


def test_a_cancelled_request_closes_its_connection() -> None:
    async def main() -> None:
        async with FaultServer(hung) as server:
            client = server.client()
            asking = asyncio.create_task(client.post("/v1/x", {}, is_safe=True))
            while not server.seen:
                await asyncio.sleep(0.001)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            while server.num_open:  # the server sees the end of the connection
                await asyncio.sleep(0.001)
            await client.close()

    run(main())


def test_a_closed_client_says_so_and_opens_nothing() -> None:
    async def main() -> Any:
        async with FaultServer(OK) as server:
            client = server.client()
            await client.close()
            await client.close()
            return await posted(client)

    assert "was closed" in str(run(main()))


def test_closing_ends_what_runs_with_a_typed_error() -> None:
    async def main() -> Any:
        async with FaultServer(hung) as server:
            client = server.client(retries=0)
            asking = asyncio.create_task(posted(client))
            while not server.seen:
                await asyncio.sleep(0.001)
            await client.close()
            return await asking

    assert isinstance(run(main()), EngineError)


def test_a_stream_is_its_events_until_done() -> None:
    assert events_of(STREAM) == [{"n": 1}, {"n": 2}]


def test_lines_of_json_are_events_too() -> None:
    assert events_of(json_lines({"n": 1}, {"done": True})) == [{"n": 1}, {"done": True}]


def chunked(*contents: bytes) -> Answer:
    """Server-sent events as servers send them: the connection is kept."""
    lines = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
    pieces = (f"{len(content):x}\r\n".encode() + content + b"\r\n" for content in contents)
    return Answer((head(200, lines), *pieces, 0.005, b"0\r\n\r\n"))


def test_a_stream_is_not_to_be_compressed_which_would_hold_events_back() -> None:
    async def main() -> str:
        async with FaultServer(STREAM) as server:
            client = server.client()
            await streamed(client)
            await client.close()
            return server.seen[0].headers["accept-encoding"]

    assert run(main()) == "identity"


def test_streams_share_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.remote.events.DRAIN_S", 30.0)

    async def main() -> tuple[list[Any], int]:
        async with FaultServer(chunked(b'data: {"n": 1}\n\n', b"data: [DONE]\n\n")) as server:
            client = server.client()
            found = [await streamed(client) for _ in range(3)]
            await client.close()
            return found, server.num_connections

    assert run(main()) == ([[{"n": 1}]] * 3, 1)


def test_an_event_without_data_says_nothing() -> None:
    alive = b"event: ping\ndata:\n\ndata: \n\n"

    assert events_of(events({"n": 1}, end=(alive, b"data: [DONE]\n\n"))) == [{"n": 1}]


def test_nothing_after_done_is_read() -> None:
    more = (b'data: [DONE]\n\ndata: {"n": 9}\n\n', HANG)

    assert events_of(events({"n": 1}, end=more)) == [{"n": 1}]


@pytest.mark.parametrize(
    "last",
    [
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"done": True},
        {"type": "response.completed"},
        {"text": "x", "meta_info": {"finish_reason": {"type": "stop"}}},
    ],
)
def test_a_stream_may_end_without_done_after_its_last_event(last: Any) -> None:
    assert events_of(events({"n": 1}, last, end=(CLOSE,))) == [{"n": 1}, last]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (events({"n": 1}, end=(CLOSE,)), "ended early"),
        (json_lines({"n": 1}), "ended early"),
        (events({"n": 1}, end=(b'data: {"n": 2}\n', CLOSE)), "ended early"),
        (events({"n": 1}, end=(b"data: {'n'\n\n",)), "no JSON"),
        (events({"n": 1}, {"error": {"message": "died", "code": 500}}), "died"),
        (events({"n": 1}, end=(b'event: error\ndata: {"message": "lost"}\n\n',)), "lost"),
        (json_lines({"n": 1}, {"error": "model crashed"}), "model crashed"),
    ],
)
def test_a_stream_that_goes_wrong_ends_in_an_error(reply: Answer, words: str) -> None:
    first, error = events_of(reply)

    assert first == {"n": 1}
    assert type(error) is EngineError
    assert words in str(error)


def test_a_stream_that_breaks_is_unavailable_and_not_repeated() -> None:
    first, error = events_of(events({"n": 1}, end=(RESET,)), STREAM, is_safe=True)

    assert first == {"n": 1}
    assert isinstance(error, EngineUnavailable)


def test_a_stream_that_hangs_is_given_up() -> None:
    first, error = events_of(events({"n": 1}, end=(HANG,)), read_timeout_s=0.5)

    assert first == {"n": 1}
    assert "read_timeout_s" in str(error)


def test_a_stream_that_never_ends_is_given_up_after_the_whole_timeout() -> None:
    endless = events(*[{"n": 1}, 0.02] * 500)

    *found, error = events_of(endless, timeout_s=1.0)
    assert found
    assert "in time" in str(error)


def test_until_its_first_event_a_stream_is_asked_for_again() -> None:
    cut = Answer((head(200, {"content-type": "text/event-stream"}), RESET))

    assert events_of(overloaded("0"), STREAM) == [{"n": 1}, {"n": 2}]
    assert events_of(cut, broken, STREAM, is_safe=True) == [{"n": 1}, {"n": 2}]
    (error,) = events_of(cut, STREAM, is_safe=False)
    assert isinstance(error, EngineUnavailable)


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (as_json({"ok": 1}), EngineError, 'application/json, not a stream of events: \'{"ok"'),
        (as_json({"error": {"message": "no GPU", "code": 400}}), RequestRejected, "400: no GPU"),
        (as_bytes(b"<html>", content_type="text/html"), EngineError, "text/html, not a stream"),
        (failing(400, "no such field"), RequestRejected, "no such field"),
        (events({"error": {"message": "too many", "code": 429}}), EngineOverloaded, "too many"),
    ],
)
def test_a_stream_that_does_not_begin_is_an_error(
    reply: Answer, kind: type[EngineError], words: str
) -> None:
    (error,) = events_of(reply, retries=0)

    assert isinstance(error, kind)
    assert words in str(error)


def test_a_stream_that_is_left_early_closes_its_connection() -> None:
    async def main() -> None:
        async with FaultServer(events({"n": 1}, end=(HANG,))) as server:
            client = server.client()
            async with client.stream("/v1/x", {}) as answer:
                assert await anext(answer) == {"n": 1}
            while server.num_open:
                await asyncio.sleep(0.001)
            await client.close()

    run(main())


def test_an_error_of_the_reader_of_a_stream_stays_its_own() -> None:
    async def main() -> None:
        async with FaultServer(STREAM) as server:
            client = server.client()
            with pytest.raises(ConnectionError, match="mine"):
                async with client.stream("/v1/x", {}):
                    raise ConnectionError("mine")
            await client.close()

    run(main())


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def tls_server(authority: trustme.CA, name: str) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    async with FaultServer(OK, tls=context) as server:
        yield server


def tls_answer(authority: trustme.CA, name: str, **options: Any) -> Any:
    async def main() -> Any:
        async with tls_server(authority, name) as server:
            client = client_of(f"vllm+https://{server.address}/m", **options)
            found = await posted(client)
            await client.close()
            return found

    return run(main())


def test_a_certificate_of_an_unknown_authority_is_refused(authority: trustme.CA) -> None:
    error = tls_answer(authority, "127.0.0.1")

    assert isinstance(error, EngineUnavailable)
    assert "certificate" in str(error).lower()


def test_an_authority_of_ones_own_is_trusted_by_its_file(
    authority: trustme.CA, tmp_path: Any
) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))

    assert tls_answer(authority, "127.0.0.1", ca_file=ca_file) == {"ok": True}


def test_a_certificate_of_another_host_is_refused(authority: trustme.CA, tmp_path: Any) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))

    error = tls_answer(authority, "other.example", ca_file=ca_file)
    assert isinstance(error, EngineUnavailable)
    assert "certificate" in str(error).lower()


def test_tls_to_a_server_without_it_is_unavailable() -> None:
    async def main() -> Any:
        async with FaultServer(OK) as server:
            client = client_of(f"vllm+https://{server.address}/m", connect_timeout_s=0.1)
            found = await posted(client)
            await client.close()
            return found

    assert isinstance(run(main()), EngineUnavailable)
