"""Where the tokenizer of a server's model is on this machine."""

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from backends.errors import ConfigError, EngineError, EngineUnavailable
from backends.models.fetch import CATALOG, locate, resolve
from backends.models.hub import hub_path
from backends.optional import optional_imports
from backends.remote.client import Client
from backends.remote.dialects.answer_fields import Fields
from backends.remote.url import RemoteURL

if TYPE_CHECKING:
    from backends.llm.requests.prompt_encoder import PromptEncoder

_open: "WeakValueDictionary[tuple[Path, int], PromptEncoder]" = WeakValueDictionary()
_opening = threading.Lock()
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_FILES = ["tokenizer*", "special_tokens_map.json", "*config.json", "chat_template*"]


def check_name(name: str) -> None:
    """Raises ConfigError for what can name no tokenizer; one that is not fetched yet passes."""
    if name in CATALOG and CATALOG[name].kind != "llm":
        raise ConfigError(f"tokenizer {name!r} is that of {CATALOG[name].kind}s, not of an LLM")
    if not _is_known(name) and not _HUB_NAME.fullmatch(name):
        llms = ", ".join(model.name for model in CATALOG.values() if model.kind == "llm")
        raise ConfigError(
            f"tokenizer {name!r} is neither a path here nor a model of the catalogue ({llms}) nor "
            "a Hub name (ORG/NAME); 'server' leaves tokens to the server"
        )


def find_here(name: str) -> Path | None:
    """The file or folder that `name` says, if it is on this machine; asks no network."""
    if name in CATALOG and CATALOG[name].kind != "llm":
        return None
    try:
        if _is_known(name):
            return resolve(name)
        return _in_hub_cache(name) if _HUB_NAME.fullmatch(name) else None
    except (ConfigError, EngineUnavailable):
        return None


def fetch_tokenizer(name: str) -> Path:
    """The same, brought from the Hub where it is not here yet. Raises EngineUnavailable."""
    if found := find_here(name):
        return found
    if name in CATALOG or name.startswith("hf:"):
        return locate(name)  # says how to fetch it
    return _from_hub(name)


async def find_servers(url: RemoteURL, client: Client) -> Path | None:
    """The tokenizer that the server says it uses, if it is here too."""
    try:
        name = await _servers_name(url, client)
    except EngineError:  # the engine that is then made says what is wrong
        return None
    return find_here(name) if isinstance(name, str) else None


async def _servers_name(url: RemoteURL, client: Client) -> Any:
    if url.scheme == "sglang":
        return Fields(await client.get("/model_info"), "/model_info").value.get("tokenizer_path")
    listed = Fields(await client.get("/v1/models"), "/v1/models").items("data")
    cards = [Fields(card, "/v1/models").value for card in listed]
    llms = [card for card in cards if card.get("kind", "llm") == "llm" and not card.get("parent")]
    named = [card for card in llms if url.model in (None, card.get("id"), card.get("root"))]
    return str(named[0].get("root")).removeprefix("local:") if len(named) == 1 else None


def open_tokenizer(path: Path) -> "PromptEncoder":
    """One for all engines of a path, so that contexts may go from one to another. Any thread may
    call. Raises EngineUnavailable and ConfigError."""
    with optional_imports("remote"):
        from backends.llm.requests.prompt_encoder import open_prompts
    key = (path.resolve(), path.stat().st_mtime_ns)
    with _opening:
        found = _open.get(key)
        if found is None:
            found = _open[key] = open_prompts(path)
        return found


def _is_known(name: str) -> bool:
    is_prefixed = name.startswith(("local:", "hf:"))
    return name in CATALOG or is_prefixed or Path(name).expanduser().exists()


def _in_hub_cache(name: str) -> Path | None:
    if found := hub_path(f"hf:{name}"):
        return found
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    file = try_to_load_from_cache(name, "tokenizer.json")
    return Path(file).parent if isinstance(file, str) else None


def _from_hub(name: str) -> Path:
    with optional_imports("remote"):
        from huggingface_hub import snapshot_download
    try:
        return Path(snapshot_download(name, allow_patterns=_FILES))
    except Exception as error:  # its own errors, httpx's, OSError
        raise EngineUnavailable(
            f"cannot fetch the tokenizer {name!r} from the Hub: {error}; give a folder that holds "
            "it, or tokenizer='server'"
        ) from error
