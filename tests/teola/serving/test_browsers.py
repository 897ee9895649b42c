"""Web pages call the server from browsers where it was told so."""

from collections.abc import Callable
from typing import Any

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "hello"}]}
PAGE = "https://chat.example"
ASKS = {"origin": PAGE, "access-control-request-method": "POST"}
ALLOWED = "access-control-allow-origin"


def test_by_default_no_page_may_call(talk: Callable[..., Any]) -> None:
    server = talk()
    assert ALLOWED not in server.post(CHAT, HELLO, origin=PAGE).headers
    assert ALLOWED not in server.options(CHAT, **ASKS).headers


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
