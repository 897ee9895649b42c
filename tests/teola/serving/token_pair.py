"""The embedded engine, and a `teola://` engine over a server of it in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from backends.base import EngineInfo, Request, Result
from backends.llm.factory import create
from backends.remote.client import Client
from backends.remote.dialects.teola import Teola
from backends.remote.options import RemoteOptions
from backends.remote.token_llm import TokenLLM
from backends.remote.tokenizer_source import open_tokenizer
from backends.remote.url import parse_url
from teola.serving.app import make_app
from teola.serving.client_rules import ALL_ALLOWED, ClientRules
from teola.serving.served_engines import ServedEngines


class Pair:
    """The embedded engine, and the same one behind a server."""

    def __init__(self, local: Any, remote: TokenLLM, engines: ServedEngines) -> None:
        self.local = local
        self.remote = remote
        self.engines = engines

    async def both(self, op: str, *parts: Any, **attrs: Any) -> tuple[Result, Result]:
        local = await ask(self.local, op, *parts, **attrs)
        return local, await ask(self.remote, op, *parts, **attrs)


async def ask(engine: Any, op: str, *inputs: Any, emit: Any = None, **attrs: Any) -> Any:
    """The result of one request; raises what it failed with."""
    (outcome,) = await engine.execute([Request(uuid4().hex, op, inputs, attrs, emit=emit)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@asynccontextmanager
async def pair_of(
    folder: Path, *, rules: ClientRules = ALL_ALLOWED, is_exact: bool = False, **options: Any
) -> AsyncIterator[Pair]:
    settings = {"dtype": "float32", "kernels": "torch", "kv_tokens": 4096, **options}
    local = create("llm", f"local:{folder}", settings)
    engines = ServedEngines(
        [(f"local:{folder}", local)],
        max_queued=64,
        rules=replace(rules, is_exact=is_exact),
    )
    await engines.start()
    transport = httpx.ASGITransport(make_app(engines))
    client = Client(
        parse_url("teola://server:80").endpoints[0], RemoteOptions(), transport=transport
    )

    async def connect(client: Client) -> Teola:
        return Teola(client, folder.name)

    info = EngineInfo("llm", "teola://server", capabilities=Teola.capabilities)
    remote = TokenLLM(info, client, connect, lambda _: open_tokenizer(folder))
    try:
        await remote.start()
        yield Pair(local, remote, engines)
    finally:
        await remote.close()
        await engines.close()


def ids_of(result: Result) -> list[int]:
    ids: list[int] = result.outputs[1].ids
    return ids
