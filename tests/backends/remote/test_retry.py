"""When and after how long a request is sent again: no clock runs here but a virtual one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from backends.errors import (
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)
from backends.remote.client import Client
from backends.remote.errors import RateLimited, from_httpx
from backends.remote.options import RemoteOptions
from backends.remote.retry import FIRST_PAUSE_S, LONGEST_PAUSE_S, Retry
from backends.remote.url import parse_url
from runtime.clock import now, run_virtual


def caused(cls: type[Exception]) -> EngineError:
    error = from_httpx(cls("x"), "POST http://h")
    error.__cause__ = cls("x")
    return error


REFUSED = caused(httpx.ConnectError)
RESET = caused(httpx.ReadError)
SILENT = caused(httpx.ReadTimeout)
ASKED_TO_WAIT = EngineOverloaded("503", 2.0)
BUSY = EngineOverloaded("503")
LIMITED = RateLimited("429")


@pytest.mark.parametrize(
    ("error", "when_safe", "when_unsafe"),
    [
        (REFUSED, True, True),
        (caused(httpx.ConnectTimeout), True, True),
        (caused(httpx.PoolTimeout), True, True),
        (RESET, True, False),
        (caused(httpx.RemoteProtocolError), True, False),
        (SILENT, False, False),
        (caused(httpx.WriteTimeout), False, False),
        (ASKED_TO_WAIT, True, True),
        (BUSY, True, False),
        (LIMITED, True, True),
        (EngineUnavailable("502"), False, False),
        (EngineError("500"), False, False),
        (RequestRejected("400"), False, False),
        (RequestTooLong("400"), False, False),
    ],
)
def test_a_request_is_repeated_only_where_nothing_can_happen_twice(
    error: EngineError, when_safe: bool, when_unsafe: bool
) -> None:
    retry = Retry(2, lambda: 0.5)

    assert (retry.pause_s(error, 0, 100, is_safe=True) is not None) == when_safe
    assert (retry.pause_s(error, 0, 100, is_safe=False) is not None) == when_unsafe


def test_pauses_double_up_to_the_longest_with_full_jitter() -> None:
    def pauses(draw: float) -> list[float | None]:
        retry = Retry(9, lambda: draw)
        return [retry.pause_s(REFUSED, num, 100, is_safe=False) for num in range(7)]

    assert pauses(0.0) == [0.0] * 7
    assert pauses(1.0) == [FIRST_PAUSE_S * f for f in (1, 2, 4, 8, 16)] + [LONGEST_PAUSE_S] * 2
    assert pauses(0.5)[0] == FIRST_PAUSE_S / 2


def test_jitter_comes_after_the_time_that_the_server_asks_for() -> None:
    retry = Retry(2, lambda: 1.0)

    assert retry.pause_s(ASKED_TO_WAIT, 0, 100, is_safe=False) == 2.0 + FIRST_PAUSE_S


@pytest.mark.parametrize(("num_before", "left_s"), [(2, 100.0), (0, 2.0)])
def test_neither_the_count_nor_the_time_is_exceeded(num_before: int, left_s: float) -> None:
    retry = Retry(2, lambda: 0.0)

    assert retry.pause_s(ASKED_TO_WAIT, num_before, left_s, is_safe=True) is None


def at_times(
    answer: Callable[[httpx.Request], httpx.Response], **options: Any
) -> tuple[list[float], Any]:
    """When requests are sent on the virtual clock, and what comes of them."""
    times: list[float] = []

    def handler(request: httpx.Request) -> httpx.Response:
        times.append(now())
        return answer(request)

    async def main() -> Any:
        (endpoint,) = parse_url("vllm://h:1/m").endpoints
        settings = RemoteOptions(**options)
        retry = Retry(settings.retries, lambda: 1.0)
        client = Client(endpoint, settings, retry=retry, transport=httpx.MockTransport(handler))
        try:
            return await client.post("/v1/x", {}, is_safe=False)
        except EngineError as error:
            return error
        finally:
            await client.close()

    return times, run_virtual(main())


def test_the_client_waits_as_told() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"retry-after": "3"})

    times, error = at_times(answer, retries=3, timeout_s=60)

    assert times == [0.0, 3.5, 7.5, 12.5]
    assert isinstance(error, RateLimited)


def test_the_client_gives_up_at_once_when_the_time_would_not_do() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"retry-after": "3"})

    times, error = at_times(answer, retries=3, timeout_s=7)

    assert times == [0.0, 3.5]
    assert error.retry_after_s == 3


def test_the_whole_timeout_spans_the_repetitions() -> None:
    async def slow(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(4)
        raise httpx.ConnectError("refused")

    async def main() -> tuple[float, Any]:
        (endpoint,) = parse_url("vllm://h:1/m").endpoints
        client = Client(
            endpoint,
            RemoteOptions(retries=9, timeout_s=10),
            retry=Retry(9, lambda: 0.0),
            transport=httpx.MockTransport(slow),
        )
        with pytest.raises(EngineUnavailable, match="in time") as caught:
            await client.post("/v1/x", {}, is_safe=False)
        await client.close()
        return now(), caught.value

    ended_s, _ = run_virtual(main())
    assert ended_s == 10


@pytest.mark.parametrize(
    ("call", "timeout_s", "ended_s"),
    [("get", 600, 60), ("get", 7, 7), ("get_text", 600, 60), ("post", 600, 600)],
)
def test_a_server_that_does_not_answer_holds_nobody_for_ever(
    call: str, timeout_s: float, ended_s: float
) -> None:
    async def hung(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(10_000)
        raise AssertionError

    async def main() -> float:
        (endpoint,) = parse_url("vllm://h:1/m").endpoints
        options = RemoteOptions(timeout_s=timeout_s)
        client = Client(endpoint, options, transport=httpx.MockTransport(hung))
        asked: dict[str, Callable[[], Awaitable[Any]]] = {
            "get": lambda: client.get("/v1/models"),
            "get_text": lambda: client.get_text("/metrics"),
            "post": lambda: client.post("/v1/x", {}, is_safe=True),
        }
        with pytest.raises(EngineUnavailable, match="in time"):
            await asked[call]()
        await client.close()
        return now()

    assert run_virtual(main()) == ended_s
