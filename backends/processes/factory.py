"""From `process:URL` to engines of `URL` in processes of their own, `instances` of them."""

import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, Literal, cast

from pydantic import Field

from backends.base import Engine, Kind
from backends.errors import ConfigError
from backends.options import Options, read_options
from backends.processes.child import Child
from backends.processes.process_engine import ProcessEngine
from backends.processes.process_group import check_platform
from backends.registry import EngineSpec, check_scheme
from backends.registry import create as create_engine
from backends.remote.factory import create_one
from backends.remote.routing.hedge import After
from backends.remote.routing.routed_engine import RoutedEngine
from backends.remote.url import parse_url

_HERE = ("local", "hf", "emulated")  # what `serve-engine` loads in its own process


class ProcessOptions(Options):
    """All other options are those of the engine in the process."""

    instances: int = Field(default=1, ge=1, le=64)
    concurrency: int = Field(default=64, ge=1, le=10_000)  # requests at one process at once
    hedge_s: After = None  # a copy of a request that is slower goes to another process
    routing: Literal["round_robin", "least_loaded", "prefix", "predicted_ttft"] = "predicted_ttft"


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """Nothing is started before `start`. Raises ConfigError, for options of the engine too."""
    check_platform()
    inner = url.removeprefix("process:")
    scheme = check_scheme(kind, inner).partition(".")[2] if inner else ""
    if scheme not in _HERE:
        raise ConfigError(
            f"{url!r}: a process of its own is for an engine that loads a model, "
            f"{', '.join(f'process:{name}:...' for name in _HERE)}"
        )
    own = {name: options[name] for name in ProcessOptions.model_fields if name in options}
    settings = read_options(ProcessOptions, url, own)
    others = {name: value for name, value in options.items() if name not in own}
    known = create_engine(EngineSpec(cast(Kind, kind), inner, others))  # checks its options
    shared: dict[str, Any] = {
        "concurrency": settings.concurrency,
        "retries": 0,  # the runtime's, or another instance
        "repeatable": "repeatable" in known.info.capabilities,
    }
    if kind == "llm" and scheme != "emulated":
        shared["tokenizer"] = inner.partition(":")[2]
    words = _words(kind, inner, others, settings.concurrency)
    make = partial(_open, kind, words, shared, waits=settings.instances == 1)
    ports = _free_ports(settings.instances)
    if len(ports) == 1:
        for name in own.keys() & {"hedge_s", "routing"}:
            raise ConfigError(f"{url!r}: {name} needs instances=2 or more")
        return make(url, ports[0])
    engines = {f"{url}#{number}": port for number, port in enumerate(ports, start=1)}
    made = {name: make(name, port) for name, port in engines.items()}
    routed = RoutedEngine(url, made, settings.routing, hedge=settings.hedge_s)
    for engine in made.values():
        engine.share_contexts(routed)
    return routed


def _open(
    kind: str,
    words: Sequence[str],
    options: Mapping[str, Any],
    name: str,
    port: int,
    *,
    waits: bool,
) -> ProcessEngine:
    client = create_one(kind, parse_url(f"teola://127.0.0.1:{port}"), options)
    return ProcessEngine(name, partial(Child, name, words, port), client, waits=waits)


def _words(kind: str, url: str, options: Mapping[str, Any], concurrency: int) -> list[str]:
    """Of the command line of `teola serve-engine`."""
    pairs = [f"{kind}.{name}={json.dumps(value, default=str)}" for name, value in options.items()]
    given = [word for pair in pairs for word in ("--option", pair)]
    what = [url] if kind == "llm" else [f"--{kind}", url]
    rules = ["--client-priority", "allow", "--client-policy"]  # there is no client but us
    return [*what, *given, *rules, "--max-queued", str(2 * concurrency)]


def _free_ports(count: int) -> list[int]:
    """All different: they are looked for together."""
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
            for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]
