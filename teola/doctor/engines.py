"""The engines that apps use: whether they are there, and what their servers should be given.

A server is asked what it tells of itself; vLLM for a token too. Nothing of it is changed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from backends.base import Kind
from backends.errors import ConfigError, EngineError
from backends.models.catalog import CATALOG
from backends.models.fetch import resolve
from backends.registry import EngineSpec, check_scheme, create, schemes
from backends.remote.client import Client
from backends.remote.options import RemoteOptions
from backends.remote.retry import Retry
from backends.remote.url import Endpoint, RemoteURL, parse_url
from backends.url_secrets import without_url_secrets
from teola.doctor.servers import llama_cpp, ollama, sglang, teola, vllm
from teola.doctor.servers.asking import TIMEOUT_S, Asking
from teola.doctor.servers.checked import CheckedEngine

Check = Callable[[CheckedEngine, Asking, Sequence[Mapping[str, Any]]], Awaitable[None]]

_OWNERS: dict[str, tuple[str, str, Check]] = {  # of models -> server, scheme
    "vllm": ("vLLM", "vllm", vllm.check),
    "sglang": ("SGLang", "sglang", sglang.check),
    "teola": ("teola", "teola", teola.check),
    "library": ("Ollama", "ollama", ollama.check),
    "llamacpp": ("llama.cpp", "openai", llama_cpp.check),
}
_OF_SCHEME = {"ollama": "library"}  # which may have no model to tell whose it is
_HERE = ("local", "hf", "fake", "emulated")
_REMOTE = ("vllm", "sglang", "teola", "ollama", "openai", "http", "https")


def check_engines(specs: Sequence[EngineSpec]) -> list[CheckedEngine]:
    """One report an engine, in order; servers are asked side by side."""

    async def all_of_them() -> list[CheckedEngine]:
        return [_shown(one) for many in await asyncio.gather(*map(_check, specs)) for one in many]

    return asyncio.run(all_of_them())


def _shown(found: CheckedEngine) -> CheckedEngine:
    """People send to others what this command prints."""
    found.url = without_url_secrets(found.url)
    found.hints = [*map(without_url_secrets, found.hints)]
    found.problems = [*map(without_url_secrets, found.problems)]
    return found


def is_engine(target: str) -> bool:
    """Whether it is the URL of an engine, and not `app.py:name` or `package.module:name`."""
    scheme = target.partition(":")[0]
    return "://" in target or scheme in schemes() or is_server(target)


def kind_of(url: str) -> Kind:
    """The kind of the engine that stands alone as a URL; an LLM where it is not known."""
    scheme, _, rest = url.partition(":")
    name = rest.partition("?")[0]
    if scheme == "local" and name == "maxsim":
        return "reranker"
    if scheme in ("local", "hf"):
        return CATALOG[name].kind if name in CATALOG else "llm"
    kinds = schemes().get(scheme, ())
    fitting = (kind for kind in kinds if scheme != "emulated" or not _problem(kind, url))
    return next(fitting, kinds[0] if kinds else "llm")


def _problem(kind: Kind, url: str) -> str:
    """What keeps an engine without a server or a model from being made."""
    try:
        create(EngineSpec(kind, url))
    except (ConfigError, EngineError) as error:
        return str(error)
    return ""


def is_server(url: str) -> bool:
    """Whether it is the URL of a server; one of plain HTTP is, and is refused."""
    scheme, colon, _ = url.partition(":")
    return bool(colon) and scheme.partition("+")[0] in _REMOTE


async def _check(spec: EngineSpec) -> list[CheckedEngine]:
    if not is_server(spec.url):
        return [_check_here(spec)]
    try:
        url = parse_url(spec.url)
        settings = _settings(spec.options)
    except ConfigError as error:
        return [CheckedEngine(spec.url, problems=[str(error)])]
    many = len(url.endpoints) > 1
    names = [endpoint.root if many else spec.url for endpoint in url.endpoints]
    checks = (
        _check_server(name, url, endpoint, settings)
        for name, endpoint in zip(names, url.endpoints, strict=True)
    )
    return list(await asyncio.gather(*checks))


def _settings(options: Mapping[str, Any]) -> RemoteOptions:
    kept = {name: options[name] for name in ("api_key_env", "ca_file") if name in options}
    return RemoteOptions(
        **kept, timeout_s=4 * TIMEOUT_S, connect_timeout_s=TIMEOUT_S, read_timeout_s=4 * TIMEOUT_S
    )


async def _check_server(
    name: str, url: RemoteURL, endpoint: Endpoint, settings: RemoteOptions
) -> CheckedEngine:
    found = CheckedEngine(name)
    client = Client(endpoint, settings, retry=Retry(0))
    try:
        await _ask(found, url, Asking(client))
    except (EngineError, ConfigError) as error:
        found.problems.append(str(error))
    finally:
        await client.close()
    return found


async def _ask(found: CheckedEngine, url: RemoteURL, ask: Asking) -> None:
    cards = await ask.models()
    found.is_reachable = True
    found.models = [str(card["id"]) for card in cards]
    owners = {card.get("owned_by") for card in cards} & _OWNERS.keys()
    owner = owners.pop() if len(owners) == 1 else _OF_SCHEME.get(url.scheme)
    if owner is None:
        found.kind = "OpenAI"
        _check_kind(found, url, "openai")
    else:
        found.kind, scheme, check = _OWNERS[str(owner)]
        _check_kind(found, url, scheme)
        await check(found, ask, cards)
    names = {*found.models, *(str(card.get("root")) for card in cards)}
    if url.model is not None and found.models and not {url.model, f"{url.model}:latest"} & names:
        have = ", ".join(found.models)
        found.problems.append(f"it has no model {url.model!r}: name one of {have} in the URL")


def _check_kind(found: CheckedEngine, url: RemoteURL, scheme: str) -> None:
    if url.scheme == scheme:
        return
    if url.scheme != "openai":
        found.problems.append(f"it looks like {found.kind}: write {scheme}:// in the URL")
    else:
        found.hints.append(
            f"it is {found.kind}: with {scheme}:// in the URL, teola uses what only that has"
        )


def _check_here(spec: EngineSpec) -> CheckedEngine:
    """An engine of this process, or of a program that is added to teola."""
    scheme, _, rest = spec.url.partition(":")
    found = CheckedEngine(spec.url, "in process" if scheme in _HERE else "not asked")
    try:
        check_scheme(spec.kind, spec.url)
        if scheme in ("local", "hf") and spec.kind in ("llm", "embedder", "reranker"):
            name = rest.partition("?")[0]
            found.models = [name]
            if name != "maxsim":
                resolve(spec.url.partition("?")[0])
        if scheme in ("fake", "emulated"):
            create(spec)
        found.is_reachable = True
        found.prefix_cache = True if spec.kind == "llm" and scheme in ("local", "hf") else None
    except (ConfigError, EngineError) as error:
        found.problems.append(str(error))
    return found
