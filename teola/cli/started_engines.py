"""`run-graph --start-engine vllm:MODEL`: a server for the time of one run."""

import argparse
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from frontend_dsl.engine_names import engines_read_by
from teola.cli.consoles import stderr_console
from teola.cli.failures import UsageError
from teola.cli.options import Option
from teola.cli.target import AnyApp

if TYPE_CHECKING:
    from teola.launching.launch import Server

START_OPTIONS = (
    Option(
        "start-engine",
        "start a server, vllm or sglang, run the app's LLM on it, and stop it: MODEL is of the "
        "catalogue, a folder or ORG/NAME; NAME= says which LLM where there are several; repeatable",
        "[NAME=]SERVER:MODEL",
        {"action": "append", "default": []},
    ),
    Option(
        "engine-args",
        "words for the command line of started servers, like '--max-model-len 4096'",
        "WORDS",
        {"default": ""},
    ),
    Option("engine-python", "the Python, or the environment, that has the server", "PATH"),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A server for one of an app's LLMs."""

    name: str
    server: str
    model: str


@contextmanager
def engines_started(app: AnyApp, options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """The URLs of the servers that run meanwhile, by the engines that they replace."""
    wanted = [wanted_server(app, word) for word in options.start_engine]
    console = Console(quiet=True) if options.quiet else stderr_console(options.no_color)
    with ExitStack() as stack:
        yield {
            one.name: stack.enter_context(_started(one, options, console)).record.url
            for one in wanted
        }


def wanted_server(app: AnyApp, word: str) -> Wanted:
    """Reads `[NAME=]SERVER:MODEL`. Raises UsageError."""
    name, equals, rest = word.partition("=")
    if not equals or ":" in name:
        name, rest = "", word
    server, colon, model = rest.partition(":")
    if not (server and colon and model) or model.startswith("//"):
        raise UsageError(f"--start-engine takes SERVER:MODEL, like vllm:ORG/NAME; got {word!r}")
    return Wanted(name or _only_llm(app), server, model)


def _only_llm(app: AnyApp) -> str:
    engines = engines_read_by(app._app_function)
    llms = [name for name, spec in engines.items() if spec.kind == "llm"]
    if len(llms) == 1:
        return llms[0]
    has = f"its LLMs are {', '.join(llms)}" if llms else "its code names no LLM"
    raise UsageError(
        f"--start-engine for which LLM of {app.name}()? {has}; write NAME=SERVER:MODEL"
    )


def _started(wanted: Wanted, options: argparse.Namespace, console: Console) -> "Server":
    from teola.cli.engine_command import launched  # late: most runs start no server
    from teola.launching.launch import DEFAULT_WAIT_S
    from teola.launching.recipes import Settings

    settings = Settings(port=0, extra=tuple(shlex.split(options.engine_args)))
    python = Path(options.engine_python) if options.engine_python else None
    return launched(wanted.server, wanted.model, settings, python, console, DEFAULT_WAIT_S)
