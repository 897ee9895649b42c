"""`teola serve-engine URL`: engines of this machine behind OpenAI's HTTP API."""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast, get_args

from backends.base import Engine, Kind
from backends.optional import optional_imports
from backends.registry import EngineSpec, create, service_of
from backends.url_secrets import without_url_secrets
from teola.cli.failures import UsageError, reported
from teola.cli.server_options import ServerOptions
from teola.cli.tenant_option import check_header
from teola.serving.client_rules import ClientRules
from teola.telemetry.otel import otel_of


def serve_engine(
    urls: tuple[str | None, str | None, str | None],
    words: Sequence[str],
    loras: Sequence[str],
    name: str | None,
    max_queued: int,
    rules: ClientRules,
    server: ServerOptions,
    debug: bool,
) -> None:
    """The whole command; ends the process when anything fails."""
    with reported(debug):
        with optional_imports("serve"):
            from teola.serving.app import make_app
            from teola.serving.process import serve
            from teola.serving.served_engines import ServedEngines
        settings, origins, hosts = server.settings, server.origins, server.hosts
        check_header(rules.tenant_header)
        llm, embedder, reranker = urls
        kinds: dict[Kind, str | None] = {"llm": llm, "embedder": embedder, "reranker": reranker}
        engines = make_engines(kinds, engine_options(words))
        adapters = adapters_of(loras)
        served = ServedEngines(engines, max_queued, name, adapters, rules=rules)
        otel = otel_of(server.otel)
        serve(served, settings, say, partial(make_app, origins=origins, hosts=hosts, otel=otel))


def say(text: str) -> None:
    """What people read while the server runs."""
    print(without_url_secrets(text), file=sys.stderr, flush=True)


def make_engines(
    urls: Mapping[Kind, str | None], options: Mapping[Kind, Mapping[str, Any]]
) -> list[tuple[str, Engine]]:
    """The engines with their URLs, not yet loaded. Raises ConfigError or UsageError."""
    if not any(urls.values()):
        raise UsageError("name something to serve: the URL of an LLM, --embedder or --reranker")
    for kind in options:
        if urls.get(kind) is None:
            missing = "LLM" if kind == "llm" else f"--{kind}"
            raise UsageError(f"--option {kind}.…: there is no {missing}")
    specs = [EngineSpec(kind, url, options.get(kind, {})) for kind, url in urls.items() if url]
    for spec in specs:
        _check_no_service(spec)
    return [(spec.url, create(spec)) for spec in specs]


def _check_no_service(spec: EngineSpec) -> None:
    """Raises UsageError for an option that only apps keep to."""
    if given := sorted(service_of(spec).model_fields_set):
        raise UsageError(
            f"--option {given[0]} is of engines in apps, tl.LLM(..., {given[0]}=...): here "
            "--max-queued bounds what waits, and clients have limits of their own"
        )


def engine_options(words: Sequence[str]) -> dict[Kind, dict[str, Any]]:
    """`[KIND.]NAME=VALUE`, a value being JSON or else a string; without a kind it is the LLM's."""
    found: dict[Kind, dict[str, Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        kind, dot, rest = name.partition(".")
        if not dot:
            kind, rest = "llm", name
        if not equals or not rest or kind not in get_args(Kind):
            raise UsageError(f"--option {word!r}: write NAME=VALUE, or embedder.NAME=VALUE")
        found.setdefault(cast(Kind, kind), {})[rest] = _value(text)
    return found


def adapters_of(words: Sequence[str]) -> dict[str, str]:
    """`NAME=FOLDER` of each LoRA adapter."""
    found = dict(word.partition("=")[::2] for word in words)
    for name, folder in found.items():
        if not name or not folder:
            raise UsageError(f"--lora {name or folder!r}: write NAME=FOLDER")
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
