"""Options that all servers have."""

from collections.abc import Callable
from typing import Any

import pytest

from teola.cli.failures import UsageError
from teola.cli.server_options import KEY_VARIABLE, ServerOptions


def test_each_option_reaches_the_servers_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    given = ServerOptions("::1", 9, "key", 5.0, 0.5, 7, 8, 1.5, 2.5, "log", None)
    settings = given.settings
    assert (settings.host, settings.port, settings.api_key) == ("::1", 9, "key")
    assert (settings.drain_s, settings.access_log) == (5.0, "log")
    limits = settings.limits
    assert (limits.max_body_bytes, limits.max_body_items) == (2**19, 7)
    assert (limits.max_connections, limits.header_timeout_s, limits.body_timeout_s) == (8, 1.5, 2.5)


def test_the_key_may_come_from_the_environment_and_may_not_be_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    assert ServerOptions().key == "secret"
    assert ServerOptions(api_key="other").key == "other"
    monkeypatch.setenv(KEY_VARIABLE, " ")
    with pytest.raises(UsageError, match="the key is empty"):
        _ = ServerOptions().key


def test_origins_are_those_that_browsers_send() -> None:
    assert ServerOptions().origins == ()
    assert ServerOptions(cors=["https://a.example", "*"]).origins == ("https://a.example", "*")
    assert ServerOptions(cors=["chrome-extension://abc"]).origins == ("chrome-extension://abc",)
    with pytest.raises(UsageError, match=r"--cors 'a\.example': write an origin like"):
        _ = ServerOptions(cors=["a.example"]).origins


@pytest.mark.parametrize("command", ["serve", "serve-engine"])
def test_both_servers_take_origins(teola: Callable[..., Any], command: str) -> None:
    done = teola(command, "fake:", "--cors", "a.example/path")
    assert done.code == 2
    assert "--cors 'a.example/path'" in done.err


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_server_of_this_machine_alone_has_no_other_names_than_those_given(host: str) -> None:
    assert ServerOptions(host).hosts == ()
    assert ServerOptions(host, allowed_host=["Chat.example"]).hosts == ("chat.example",)


def test_a_server_that_others_reach_has_any_name_unless_some_are_given() -> None:
    for host in ("0.0.0.0", "::", "", "10.0.0.1", "gpu.example"):
        assert ServerOptions(host).hosts == ("*",)
    assert ServerOptions("0.0.0.0", allowed_host=["a.example"]).hosts == ("a.example",)


@pytest.mark.parametrize("command", ["serve", "serve-engine"])
@pytest.mark.parametrize("name", ["http://a.example", "a.example:80", "a/b", ""])
def test_both_servers_take_names(teola: Callable[..., Any], command: str, name: str) -> None:
    done = teola(command, "fake:", "--allowed-host", name)
    assert done.code == 2
    assert f"--allowed-host {name!r}: write a name" in done.err
