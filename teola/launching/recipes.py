"""How each server is started for an orchestrator: which flags give it what adapters rely on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from backends.errors import ConfigError
from backends.url_secrets import without_url_secrets

ServerName = Literal["vllm", "sglang"]

_GRAMMARS = json.dumps({"backend": "guidance", "disable_any_whitespace": True})
_MAX_SOCKET_PATH = 100  # bytes; the system's limit is 107 on Linux, 103 on macOS


@dataclass(frozen=True, slots=True)
class Recipe:
    """One server: its command line, and what to know of it."""

    name: ServerName
    module: str  # of `python -m`
    package: str  # imported by the server's Python
    model_flag: str
    port: int  # its own default
    health: str  # answers 200 once requests are taken, at no cost
    flags: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    default_variables: Mapping[str, str] = field(default_factory=dict)  # where the user has none
    kv_events: bool = False  # tells over ZMQ which prefixes it holds


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="vllm",
            # `vllm serve` asks for the version of a distribution `vllm`, which CPU builds are not.
            module="vllm.entrypoints.openai.api_server",
            package="vllm",
            model_flag="--model",
            port=8000,
            health="/health",
            flags=(
                *("--scheduling-policy", "priority"),
                "--enable-prompt-tokens-details",  # cached tokens in every usage
                "--enable-scale-out",  # token ids in and out, abort by id
                "--enable-server-load-tracking",
                "--disable-uvicorn-access-log",
                # The grammars of the embedded engine: same forms, same tokens, no free spaces.
                *("--structured-outputs-config", _GRAMMARS),
            ),
            variables={"VLLM_NO_USAGE_STATS": "1"},
            # GiB, on CPUs alone: vLLM's own default is nearly all memory that there is.
            default_variables={"VLLM_CPU_KVCACHE_SPACE": "4"},
            kv_events=True,
        ),
        Recipe(
            name="sglang",
            module="sglang.launch_server",
            package="sglang",
            model_flag="--model-path",
            port=30000,
            health="/ready",
            flags=(
                # Priorities and `lpm` exclude each other: the runtime orders by prefix itself.
                "--enable-priority-scheduling",
                "--enable-cache-report",
                "--enable-session-radix-cache",
                "--enable-metrics",
                *("--log-level-http", "warning"),
            ),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a server is to load, and the name that clients use for it."""

    source: str  # a folder, or a name on the Hugging Face hub
    name: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may choose of a server."""

    host: str = "127.0.0.1"
    port: int | None = None  # 0: a free one; None: the server's own default
    dtype: str | None = None  # None: the server's choice
    extra: tuple[str, ...] = ()  # words for the server's own command line, which come last


_OURS = ("--host", "--port", "--served-model-name")  # where we look for the server, and as what


def check_extra(words: Sequence[str]) -> None:
    """Raises ConfigError for words that would take the server to where nobody looks for it."""
    for word in words:
        name = word.partition("=")[0]
        if name in _OURS:
            where = "it is the model's own name" if name == _OURS[2] else f"write {name} before it"
            raise ConfigError(f"{name} cannot be among the server's words, after the --: {where}")


def api_key_of(words: Sequence[str]) -> str | None:
    """The key that the server's words ask of clients."""
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--api-key":
            return value if equals else next(iter(words[at + 1 :]), None)
    return None


def recipe_of(name: str) -> Recipe:
    """Raises ConfigError for a server that is not known."""
    if name not in RECIPES:
        raise ConfigError(f"unknown server {name!r}; known: {', '.join(RECIPES)}")
    return RECIPES[name]


def command(
    recipe: Recipe,
    python: Path,
    model: ServedModel,
    settings: Settings,
    port: int,
    events_socket: Path | None = None,
) -> list[str]:
    """The server's command line; the user's own words win over ours."""
    words = [str(python), "-m", recipe.module, recipe.model_flag, model.source]
    words += ["--served-model-name", model.name, "--host", settings.host, "--port", str(port)]
    words += ["--dtype", settings.dtype] if settings.dtype else []
    words += recipe.flags
    if recipe.kv_events and _fits(events_socket):
        words += ["--kv-events-config", _events_config(events_socket)]
    return [*words, *settings.extra]


def without_secrets(words: Sequence[str]) -> list[str]:
    """A command line as it may be shown."""
    shown, is_secret = [], False
    for word in words:
        name, equals, _ = word.partition("=")
        names_secret = name.endswith(("-key", "-token", "-password"))
        shown.append("***" if is_secret else f"{name}=***" if names_secret and equals else word)
        is_secret = names_secret and not equals
    return [*map(without_url_secrets, shown)]


def _fits(socket: Path | None) -> bool:
    return socket is not None and len(str(socket).encode()) <= _MAX_SOCKET_PATH


def _events_config(socket: Path | None) -> str:
    # A concrete tcp:// address makes vLLM connect to it instead of serving there.
    endpoint = f"ipc://{socket}"
    return json.dumps({"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": endpoint})
