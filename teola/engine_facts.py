"""What a trace says of the engines of its query: kind, model, whose it is, and where."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import get_args
from urllib.parse import urlsplit

from backends.registry import EngineSpec
from backends.remote.url import Scheme, parse_url

EngineFacts = Mapping[str, str]  # kind; model, provider and server, where they are known

_IN_PROCESS = ("local", "hf")


def engine_facts(engines: Mapping[str, EngineSpec]) -> dict[str, EngineFacts]:
    """By the engines' names in the graph; what is unknown is left out."""
    return {name: _facts(spec) for name, spec in engines.items()}


def _facts(spec: EngineSpec) -> EngineFacts:
    scheme, _, rest = spec.url.partition(":")
    scheme = scheme.partition("+")[0]
    facts = {"kind": spec.kind, "provider": "teola" if scheme in _IN_PROCESS else scheme}
    if scheme in get_args(Scheme):
        url = parse_url(spec.url)
        facts["model"] = url.model or ""
        facts["server"] = urlsplit(url.endpoints[0].root).netloc
    elif spec.kind in ("llm", "embedder", "reranker"):
        facts["model"] = _short(rest)
    return {name: value for name, value in facts.items() if value}


def _short(rest: str) -> str:
    """`smollm2-135m`, and of `/models/tiny.gguf?dtype=bfloat16` tiny."""
    return PurePath(rest.partition("?")[0]).name.removesuffix(".gguf")
