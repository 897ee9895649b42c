"""Options that engines of all remote schemes take, and their key."""

import os
import re
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from backends.errors import ConfigError
from backends.options import NOT_SHOWN, Options
from backends.remote.url import Endpoint, Scheme

DEFAULT_KEYS: dict[Scheme, str] = {
    "sglang": "SGLANG_API_KEY",
    "vllm": "VLLM_API_KEY",
    "openai": "OPENAI_API_KEY",
    "ollama": "OLLAMA_API_KEY",
    "teola": "TEOLA_API_KEY",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class RemoteOptions(Options):
    """How to talk to a server. Engines of a kind add their own."""

    api_key_env: str | None = None  # None: see `DEFAULT_KEYS`
    timeout_s: float = Field(default=600.0, gt=0)  # a whole request, its retries included
    connect_timeout_s: float = Field(default=10.0, gt=0)
    read_timeout_s: float = Field(default=300.0, gt=0)  # the longest silence of the server
    retries: int = Field(default=2, ge=0, le=100)
    concurrency: int = Field(default=64, ge=1, le=10_000)  # requests at one endpoint at once
    http2: bool | None = None  # None: where TLS offers it and h2 is installed; True: no other
    ca_file: Path | None = None  # certificates to trust instead of the public ones
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    repeatable: bool = False  # equal requests get equal outcomes: they may be remembered

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, given: str | None) -> str | None:
        if given is not None and not _NAME.fullmatch(given):  # maybe the key itself: not repeated
            raise PydanticCustomError(
                NOT_SHOWN, "it is the name of an environment variable, and not the key"
            )
        return given


class Secret:
    """A key that shows in no text of the object."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def hide_in(self, text: str) -> str:
        """`text` without the key, which some servers repeat."""
        return text.replace(self._value, "***") if self._value else text

    def __repr__(self) -> str:
        return "Secret(***)" if self._value else "Secret()"


def key_env_of(endpoint: Endpoint, options: RemoteOptions) -> str:
    """The environment variable that may hold the key."""
    return options.api_key_env or DEFAULT_KEYS[endpoint.scheme]


def read_key(endpoint: Endpoint, options: RemoteOptions) -> Secret:
    """The key from the environment, or an empty one. Raises ConfigError, which never holds it."""
    name = key_env_of(endpoint, options)
    value = os.environ.get(name, "").strip()
    if not value and options.api_key_env:
        raise ConfigError(f"the environment has no {name}, which api_key_env names for a key")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigError(f"the environment's {name} is no key: it holds more than ASCII letters")
    if value and not (endpoint.is_tls or endpoint.is_private or endpoint.is_tls_chosen):
        raise ConfigError(
            f"the key of {name} would go to {endpoint.root} unencrypted; write ?tls=1 after the "
            "URL, or ?tls=0 if that is meant"
        )
    return Secret(value)
