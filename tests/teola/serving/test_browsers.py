"""Web pages call the server from browsers where it was told so."""

from collections.abc import Callable
from typing import Any

import pytest

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "hello"}]}
PAGE = "https://chat.example"
ASKS = {"origin": PAGE, "access-control-request-method": "POST"}
OWN = ["localhost:8000", "LOCALHOST", "localhost.", "api.localhost", "host.docker.internal:8000"]
OWN += ["127.0.0.1:8000", "[::1]:8000", "[::1]", "192.168.1.2", "chat.example:443", ""]
ALLOWED = "access-control-allow-origin"


def test_by_default_no_page_may_call(talk: Callable[..., Any]) -> None:
    server = talk()
    refused = server.post(CHAT, HELLO, origin=PAGE)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert "--cors" in refused.json()["error"]["message"]
    assert ALLOWED not in refused.headers
    assert ALLOWED not in server.options(CHAT, **ASKS).headers
    assert server.get("/v1/models", origin=PAGE).status_code == 200  # which the page cannot read


def test_a_named_page_may_call_and_read_what_a_client_needs(talk: Callable[..., Any]) -> None:
    server = talk(api_key="secret", origins=(PAGE,))
    asked = server.options(CHAT, **ASKS, **{"access-control-request-headers": "authorization"})
    assert (asked.status_code, asked.headers[ALLOWED]) == (200, PAGE)
    assert ALLOWED not in server.options(CHAT, **{**ASKS, "origin": "https://else.example"}).headers
    said = server.post(CHAT, HELLO, origin=PAGE, authorization="Bearer secret")
    assert (said.status_code, said.headers[ALLOWED]) == (200, PAGE)
    assert "x-request-id" in said.headers["access-control-expose-headers"]
    refused = server.post(CHAT, HELLO, origin=PAGE)
    assert (refused.status_code, refused.headers[ALLOWED]) == (401, PAGE)


@pytest.mark.parametrize("origin", ["https://else.example", "null", "http://chat.example"])
def test_a_page_that_is_not_named_cannot_post_without_asking_first(
    talk: Callable[..., Any], origin: str
) -> None:
    server = talk(origins=(PAGE,))
    simple = {"content-type": "text/plain", "origin": origin}  # no browser asks before it sends it
    assert server.post(CHAT, HELLO, **simple).status_code == 403
    assert talk(origins=("*",)).post(CHAT, HELLO, **simple).status_code == 200


def test_the_servers_own_pages_and_programs_post_as_ever(talk: Callable[..., Any]) -> None:
    server = talk()
    assert server.post(CHAT, HELLO).status_code == 200
    own = {"host": "chat.example:8000", "origin": "https://chat.example:8000"}
    assert server.post(CHAT, HELLO, **own).status_code == 200
    assert server.post(CHAT, HELLO, **{**own, "host": "chat.example"}).status_code == 403


@pytest.mark.parametrize("path", ["/v1/models", "/openapi.json"])
def test_a_name_that_somebody_pointed_at_this_machine_reads_nothing(
    talk: Callable[..., Any], path: str
) -> None:
    server = talk(hosts=("chat.example",))
    for host in ("evil.example", "evil.example:80", "chat.example.evil", "evillocalhost", "127.1"):
        refused = server.get(path, host=host)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "host_not_allowed")
        assert "--allowed-host" in refused.json()["error"]["message"]
        assert server.get("/health", host=host).status_code == 200


@pytest.mark.parametrize("host", OWN)
def test_addresses_local_names_and_those_of_the_server_are_its_own(
    talk: Callable[..., Any], host: str
) -> None:
    server = talk(hosts=("chat.example",))
    assert server.post(CHAT, HELLO, host=host).status_code == 200
