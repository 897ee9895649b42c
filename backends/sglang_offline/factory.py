"""Engines of `sglang:model`: SGLang's engine in this process. Nothing is loaded before `start`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from backends.base import Capability, Engine, EngineInfo, Kind
from backends.errors import ConfigError
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.options import read_options
from backends.remote.call_engine import CallEngine
from backends.remote.dialects.sglang import SGLang
from backends.remote.embedder import EmbedCalls, EmbedderOptions
from backends.remote.server_client import ServerClient
from backends.remote.token_llm import TokenLLM
from backends.remote.tokenizer_source import check_name, fetch_tokenizer, open_tokenizer
from backends.remote.url import RemoteURL
from backends.sglang_offline.offline_server import OfflineServer
from backends.sglang_offline.options import SGLangOptions


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """An engine for `sglang:<folder or Hub name>`. Raises ConfigError."""
    settings = read_options(SGLangOptions, f"{kind} engine {url!r}", options)
    model = url.partition(":")[2]
    if not model:
        raise ConfigError(
            "sglang: names no model; write sglang:ORG/NAME, or sglang://HOST:PORT for a server"
        )
    if kind == "llm":
        return _llm(url, model, settings)
    if kind == "embedder":
        return _embedder(url, model, settings)
    raise ConfigError(f"{url!r}: SGLang in this process is an llm or an embedder, not a {kind}")


def _llm(url: str, model: str, settings: SGLangOptions) -> Engine:
    tokenizer = settings.tokenizer or model
    check_name(tokenizer)
    server = OfflineServer(url, {"model_path": model, **settings.engine_args})

    async def connect(client: ServerClient) -> SGLang:
        await server.start()
        return SGLang(client)

    def load(_: object) -> PromptEncoder:
        return open_tokenizer(fetch_tokenizer(tokenizer))

    info = replace(_info("llm", url, settings), max_context_tokens=settings.context_len)
    numbers: set[Capability] = {"priorities"}
    able = info.capabilities | SGLang.capabilities | numbers
    return TokenLLM(replace(info, capabilities=able), server, connect, load)


def _embedder(url: str, model: str, settings: SGLangOptions) -> Engine:
    server = OfflineServer(url, {"model_path": model, "is_embedding": True, **settings.engine_args})

    class Calls(EmbedCalls):
        async def open(self, client: ServerClient) -> None:
            await server.start()
            await super().open(client)

    asked = EmbedderOptions(dimensions=settings.dimensions)
    calls = Calls(RemoteURL(url, "sglang", (server.endpoint,), model), asked)
    info = replace(_info("embedder", url, settings), max_batch_items=asked.max_batch_items)
    return CallEngine(info, lambda: server, calls)


def _info(kind: Kind, url: str, settings: SGLangOptions) -> EngineInfo:
    return EngineInfo(
        kind,
        url,
        num_slots=settings.concurrency,
        capabilities=frozenset(("repeatable",) if settings.repeatable else ()),
    )
