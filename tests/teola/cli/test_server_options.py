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
    with pytest.raises(UsageError, match=r"--cors 'a\.example': write an origin like"):
        _ = ServerOptions(cors=["a.example"]).origins


@pytest.mark.parametrize("command", ["serve", "serve-engine"])
def test_both_servers_take_origins(teola: Callable[..., Any], command: str) -> None:
    done = teola(command, "fake:", "--cors", "a.example/path")
    assert done.code == 2
    assert "--cors 'a.example/path'" in done.err
