"""Where an MCP server is: a command to start, or the URL of one that runs."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from backends.errors import ConfigError

MAX_SHOWN = 100  # characters of a word of a command, in messages


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Either `command` or `url` is set."""

    command: tuple[str, ...] = ()
    url: str = ""
    env: tuple[str, ...] = ()  # names of variables that the command gets from this process
    headers_env: Mapping[str, str] = field(default_factory=dict)  # header -> variable with its text
    cwd: str | None = None

    @property
    def name(self) -> str:
        """How messages call the server; a URL without its query, which may hold a key."""
        if self.url:
            return urlsplit(self.url)._replace(query="", fragment="").geturl()
        return shlex.join(map(_shortened, self.command))

    def headers(self) -> dict[str, str]:
        """The headers with their texts. Raises ConfigError for a variable that is not set."""
        return {header: _variable(name, header) for header, name in self.headers_env.items()}

    def environment(self) -> dict[str, str]:
        """The variables for the command. Raises ConfigError for one that is not set."""
        return {name: _variable(name, "env=") for name in self.env}


def address_of(
    server: str | Sequence[str],
    env: Sequence[str] = (),
    headers_env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> ServerAddress:
    """Raises ConfigError for what is neither a command nor a URL, or an option of the other."""
    headers_env, folder = dict(headers_env or {}), None if cwd is None else os.fspath(cwd)
    if not isinstance(server, str):
        command = tuple(os.fspath(word) for word in server)
    elif "://" in server:
        return _remote(server, headers_env, bool(env) or folder is not None)
    else:
        command = tuple(shlex.split(server))
    if not command:
        raise ConfigError('an MCP server is a command like "uvx NAME" or a URL; got nothing')
    if headers_env:
        raise ConfigError(
            f"headers_env= is for MCP servers with a URL; {shlex.join(command)!r} is a command: "
            "name the variables that it needs in env=[...]"
        )
    return ServerAddress(command, env=_names(env), cwd=folder)


def _remote(url: str, headers_env: Mapping[str, str], is_for_command: bool) -> ServerAddress:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"the URL of an MCP server is like https://HOST/mcp; got {url!r}")
    if parts.username or parts.password:
        raise ConfigError(
            "the URL of an MCP server holds a password; give it in a header: "
            'headers_env={"Authorization": "VARIABLE"}'
        )
    if is_for_command:
        raise ConfigError(f"env= and cwd= are for MCP servers that are commands; {url!r} is a URL")
    return ServerAddress(url=url, headers_env=headers_env)


def _names(env: Sequence[str]) -> tuple[str, ...]:
    if isinstance(env, (str, Mapping)):
        raise ConfigError('env= lists names of environment variables, like ["GITHUB_TOKEN"]')
    return tuple(env)


def _shortened(word: str) -> str:
    return word if len(word) <= MAX_SHOWN else word[: MAX_SHOWN - 3] + "..."


def _variable(name: str, what: str) -> str:
    text = os.environ.get(name)
    if not text:
        raise ConfigError(f"the environment variable {name}, wanted for {what}, is not set")
    return text
