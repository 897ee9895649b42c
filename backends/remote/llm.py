"""An LLM at a server: in token mode where its tokenizer is here, else in text mode.

| option `tokenizer` | mode |
|---|---|
| a catalogue model, a path, a Hub name | token mode; fetched from the Hub if it must be |
| "server" | text mode: the server tokenises |
| left out | token mode if the server's model is a folder here, which `start` finds out |
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from backends.base import Capability, Engine, EngineInfo
from backends.errors import ConfigError
from backends.optional import optional_imports
from backends.options import read_options
from backends.remote.chat_llm import ChatLLM
from backends.remote.client import Client
from backends.remote.dialects.sglang import SGLang
from backends.remote.dialects.teola import Teola
from backends.remote.dialects.token_dialect import TokenDialect
from backends.remote.dialects.vllm import VLLM
from backends.remote.engine_info import info_of
from backends.remote.listed_models import model_of
from backends.remote.llm_options import RemoteLLMOptions
from backends.remote.mode_at_start import ModeAtStart
from backends.remote.open_chat_llm import OpenChatLLM
from backends.remote.text_setup import server_of
from backends.remote.tokenizer_source import check_name, fetch_tokenizer, find_here, find_servers
from backends.remote.url import RemoteURL

TEXT_MODE = "server"  # the tokenizer that is left to the server


async def _sglang(url: RemoteURL, client: Client) -> TokenDialect:
    return SGLang(client, url.model)


async def _vllm(url: RemoteURL, client: Client) -> TokenDialect:
    return VLLM(client, await model_of(client, url, "llm"))


async def _teola(url: RemoteURL, client: Client) -> TokenDialect:
    return Teola(client, await model_of(client, url, "llm"))


_DIALECTS: dict[str, Callable[[RemoteURL, Client], Awaitable[TokenDialect]]] = {
    "sglang": _sglang,
    "vllm": _vllm,
    "teola": _teola,
}
_CAPABILITIES: dict[str, frozenset[Capability]] = {
    "sglang": SGLang.capabilities,
    "vllm": VLLM.capabilities,
    "teola": Teola.capabilities,
}


def make(url: RemoteURL, options: Mapping[str, Any]) -> Engine:
    """The engine of a URL with one endpoint. Nothing is asked before `start`. Raises ConfigError,
    and EngineUnavailable where a package for token mode is missing."""
    settings = read_options(RemoteLLMOptions, f"llm {url.text!r}", options)
    client = Client(url.endpoints[0], settings)
    name = settings.tokenizer
    if settings.order == "class" and not server_of(url).has_numbers:
        raise ConfigError(f"{url.text}: order is for vllm:// and sglang://, which take a number")
    if url.scheme not in _DIALECTS:
        if name not in (None, TEXT_MODE):
            raise ConfigError(f"{url.text}: {url.scheme}:// engines send no tokens: no tokenizer")
        return ChatLLM(url, settings, client)
    text = partial(OpenChatLLM, url, settings, client, partial(_DIALECTS[url.scheme], url, client))
    if name == TEXT_MODE:
        return text()
    if name is not None:
        check_name(name)
        return token_llm(url, settings, client, partial(fetch_tokenizer, name))
    if (path := _named_here(url)) is not None:
        return token_llm(url, settings, client, lambda: path)
    find = partial(find_servers, url)
    token = partial(token_llm, url, settings, client)
    promised = _info(url, settings).capabilities
    return ModeAtStart(client, promised, find, text, token)


def _named_here(url: RemoteURL) -> Path | None:
    """The tokenizer of a model whose name alone says where it is: a folder of this machine, or on
    teola's own server a model of the catalogue."""
    if url.model is None:
        return None
    if Path(url.model, "tokenizer.json").is_file():
        return Path(url.model)
    return find_here(url.model) if url.scheme == "teola" else None


def token_llm(
    url: RemoteURL, settings: RemoteLLMOptions, client: Client, find: Callable[[], Path]
) -> Engine:
    """In token mode, with the tokenizer that `find` finds. Raises EngineUnavailable where packages
    are missing."""
    with optional_imports("remote"):
        from backends.remote.token_llm import TokenLLM
        from backends.remote.tokenizer_source import open_tokenizer

    async def connect(_: object) -> TokenDialect:
        return await _DIALECTS[url.scheme](url, client)

    return TokenLLM(_info(url, settings), client, connect, lambda _: open_tokenizer(find()))


def _info(url: RemoteURL, settings: RemoteLLMOptions) -> EngineInfo:
    """Of token mode, before the server is asked."""
    able = _CAPABILITIES[url.scheme]
    if server_of(url).has_numbers and settings.order == "policy":
        able |= {"priorities"}
    known = info_of("llm", url, settings, capabilities=able)
    return replace(known, max_context_tokens=settings.context_len)
