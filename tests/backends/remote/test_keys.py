"""Keys come from the environment, go to their server only, and stand in no text."""

import asyncio
import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
from fault_server import (
    CLOSE,
    FaultServer,
    as_bytes,
    as_json,
    broken,
    events,
    failing,
    nothing_left,
    refusing_port,
)

from backends.errors import ConfigError, EngineError
from backends.options import read_options
from backends.remote.client import Client
from backends.remote.options import DEFAULT_KEYS, RemoteOptions, Secret, read_key
from backends.remote.url import Endpoint, parse_url

KEY = "sk-very-secret-7d1f"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFAULT_KEYS.values():
        monkeypatch.delenv(name, raising=False)


def endpoint_of(url: str) -> Endpoint:
    (endpoint,) = parse_url(url).endpoints
    return endpoint


def key_of(url: str, **options: Any) -> str:
    return read_key(endpoint_of(url), RemoteOptions(**options)).reveal()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("openai:gpt", "OPENAI_API_KEY"),
        ("vllm://localhost", "VLLM_API_KEY"),
        ("sglang://localhost", "SGLANG_API_KEY"),
        ("ollama://localhost", "OLLAMA_API_KEY"),
        ("teola://localhost", "TEOLA_API_KEY"),
    ],
)
def test_every_scheme_has_its_variable(
    url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert key_of(url) == ""
    monkeypatch.setenv(name, f" {KEY}\n")
    assert key_of(url) == KEY


def test_a_variable_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", KEY)

    assert key_of("vllm://localhost", api_key_env="MINE") == KEY


def test_a_named_variable_must_be_there() -> None:
    with pytest.raises(ConfigError, match="the environment has no MINE"):
        key_of("vllm://localhost", api_key_env="MINE")


def test_a_key_in_place_of_its_variables_name_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="api_key_env.*name of an environment var") as caught:
        read_options(RemoteOptions, "an engine", {"api_key_env": KEY})

    assert "secret" not in str(caught.value)


def test_a_refused_key_and_one_that_is_missing_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert "the environment has no OPENAI_API_KEY" in run(failing(401), caplog)[0]
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "is the key in the environment's OPENAI_API_KEY right?" in run(failing(401), caplog)[0]


@pytest.mark.parametrize("value", ["sk-\x07bell", "sk-grün", "sk two", "sk\nline"])
def test_what_is_no_key_is_refused_and_not_repeated(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", value)
    with pytest.raises(ConfigError, match="MINE") as caught:
        key_of("vllm://localhost", api_key_env="MINE")

    assert "sk" not in str(caught.value)


def test_no_key_goes_over_the_internet_unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)

    with pytest.raises(ConfigError, match="unencrypted.*tls=1") as caught:
        key_of("vllm://gpu.example.com:8000/m")
    assert KEY not in str(caught.value)
    for url in (
        "vllm://gpu.example.com:8000/m?tls=1",
        "vllm://gpu.example.com:8000/m?tls=0",
        "vllm+http://gpu.example.com:8000/m",
        "vllm://gpu.example.com/m",
        "vllm://10.1.2.3:8000/m",
    ):
        assert key_of(url) == KEY


def test_a_secret_shows_in_no_text() -> None:
    secret = Secret(KEY)

    assert KEY not in f"{secret} {secret!r} {[secret]}"
    assert secret.hide_in(f"the key {KEY} is wrong") == "the key *** is wrong"
    assert Secret("").hide_in("text") == "text"


def run(reply: Any, caplog: pytest.LogCaptureFixture, **options: Any) -> tuple[str, FaultServer]:
    """All that an exchange with a server leaves in errors, reprs and logs."""
    for name in ("", "httpx", "httpcore", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    texts: list[str] = []

    async def main() -> FaultServer:
        async with asyncio.timeout(60), nothing_left(), FaultServer(reply) as server:
            settings = RemoteOptions(retries=0, **options)
            client = Client(endpoint_of(server.url()), settings)
            try:
                await client.post("/v1/x", {}, is_safe=False)
            except EngineError as error:
                texts.extend(traceback.format_exception(error))
            try:
                async with client.stream("/v1/x", {}) as answer:
                    async for _ in answer:
                        pass
            except EngineError as error:
                texts.extend(traceback.format_exception(error))
            texts.extend((repr(client), repr(client.endpoint), repr(settings), repr(vars(client))))
            await client.close()
            return server

    server = asyncio.run(main())
    return "\n".join((*texts, caplog.text)), server


@pytest.mark.parametrize(
    "reply",
    [
        as_json({}),
        broken,
        failing(401, f"Incorrect API key provided: {KEY}"),
        failing(500, f"header Authorization: Bearer {KEY}"),
        as_bytes(f"<html>{KEY}</html>".encode(), content_type="text/html"),
        as_json({"error": f"bad key {KEY}"}),
        events({"n": 1}, {"error": {"message": f"lost {KEY}"}}),
        events({"n": 1}, end=(f"data: {{{KEY}\n\n".encode(), CLOSE)),
    ],
)
def test_the_key_is_sent_and_shows_nowhere(
    reply: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    texts, server = run(reply, caplog)

    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in texts
    assert server.address in texts


def test_a_refused_key_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MINE", KEY)

    texts, _ = run(failing(401, "wrong key"), caplog, api_key_env="MINE")

    assert "is the key in the environment's MINE right?" in texts


def test_no_redirect_is_followed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    other = f"http://127.0.0.1:{refusing_port()}/v1/x"

    texts, server = run(as_json({}, 307, location=other), caplog)

    assert f"it redirects to {other}; write that address" in texts
    assert len(server.seen) == 2  # the post and the stream, each once


def test_no_proxy_and_no_netrc_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{refusing_port()}")

    _, server = run(as_json({}), caplog)

    assert len(server.seen) == 2
    assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"timeout_s": 0}, "timeout_s"),
        ({"retries": -1}, "retries"),
        ({"concurrency": 0}, "concurrency"),
        ({"api_key": KEY}, "unknown option 'api_key'"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        read_options(RemoteOptions, "llm 'vllm://h'", options)

    assert KEY not in str(caught.value)


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    async def main(ca_file: Path) -> None:
        client = Client(endpoint_of("openai://h.example/m"), RemoteOptions(ca_file=ca_file))
        await client.post("/v1/x", {}, is_safe=False)

    empty = tmp_path / "empty.pem"
    empty.write_text("none")
    for path in (empty, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match=path.name):
            asyncio.run(main(path))
