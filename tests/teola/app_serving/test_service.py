"""Who may ask a service, and what it says of itself."""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from backends.errors import ConfigError

sys.path.insert(0, str(Path(__file__).parent))

from service_apps import ask, llm

from teola.app_serving.service import AppService

Serve = Callable[..., Any]


def test_without_the_key_nothing_is_told_but_health(serve: Serve) -> None:
    with serve(ask, key="secret") as client:
        assert client.run("ask", arguments={"question": "?"}).status_code == 401
        assert client.http.get("/v1/apps").status_code == 401
        assert client.http.get("/health").json() == {"status": "ok"}
        head = {"authorization": "Bearer secret"}
        assert client.http.get("/v1/apps", headers=head).status_code == 200


def test_browsers_are_let_in_from_named_origins_only(serve: Serve) -> None:
    origin = "https://chat.example"
    asks = {"origin": origin, "access-control-request-method": "POST"}
    with serve(ask) as client:
        assert (
            "access-control-allow-origin"
            not in client.http.get("/v1/apps", headers={"origin": origin}).headers
        )
    with serve(ask, key="secret", origins=(origin,)) as client:
        asked = client.http.options("/v1/apps/ask/runs", headers=asks)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == origin
        asked = client.http.options(
            "/v1/apps/ask/runs", headers={**asks, "origin": "https://else.example"}
        )
        assert "access-control-allow-origin" not in asked.headers


def test_before_it_has_started_nothing_runs(serve: Serve) -> None:
    with serve(ask, is_ready=False) as client:
        assert client.http.get("/health").status_code == 503
        assert client.run("ask", arguments={"question": "?"}).status_code == 503


def test_runs_and_tokens_are_counted(serve: Serve) -> None:
    with tl.fake(llm, "two words"), serve(ask) as client:
        client.run("ask", arguments={"question": "?"})
        client.comes_to('teola_app_runs_total{app="ask",status="completed"}', 1)
        client.comes_to("teola_decoded_tokens_total", 2)
        client.comes_to("teola_time_to_first_token_seconds_count", 1)
        client.comes_to("teola_num_requests_running", 0)


def test_what_a_run_used_is_counted_before_it_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[bool] = []

    async def main() -> None:
        service = AppService([ask], 1)
        await service.start()
        tell = asyncio.get_running_loop().call_soon_threadsafe

        def tell_slowly(*args: Any) -> Any:
            told = tell(*args)
            time.sleep(0.02)
            return told

        monkeypatch.setattr(asyncio.get_running_loop(), "call_soon_threadsafe", tell_slowly)
        with service.admitted() as place:
            run = service.started(service.app("ask"), {"question": "?"}, place, None)
        run.ended.add_done_callback(lambda _: counted.append(run.stopped.is_set()))
        await run.outcome()
        await service.close()

    with tl.fake(llm, "two words"):
        asyncio.run(main())
    assert counted == [True]


def test_two_apps_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two of the apps to serve are called 'ask'"):
        AppService([ask, ask], 1)


def test_an_app_whose_argument_cannot_be_json_is_refused() -> None:
    class Odd:
        pass

    @tl.app
    async def odd(thing: Odd) -> str:
        return "no"

    with pytest.raises(ConfigError, match=r"odd\(\) cannot be served"):
        AppService([odd], 1)
