"""The entry points `teola` and `run-graph`, and the list of all commands."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import typer

from teola.cli.app_verbs import evaluate, graph, plan, run, simulate
from teola.cli.cache_verbs import cache
from teola.cli.device_verbs import device
from teola.cli.engine_verbs import engine
from teola.cli.failures import FAILED, IN_DOUBT, INTERRUPTED, WAITING
from teola.cli.measuring_verbs import doctor, fusion_check, profile, top, trace
from teola.cli.model_verbs import models
from teola.cli.server_verbs import mcp, serve, serve_engine
from teola.cli.stored_verbs import approve, resume, runs

app = typer.Typer(
    help="Compile LLM apps to graphs of primitives and run them fast on models you host.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Their arguments depend on the app, so they parse their words themselves, `--help` too.
_TAKES_APP = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


def version() -> None:
    """Print the version."""
    from teola import __version__

    print(f"teola {__version__}")


_OF_APPS: Sequence[Callable[..., None]] = (run, graph, plan, simulate)
_OTHERS: Sequence[Callable[..., None]] = (
    *(trace, profile, serve_engine, serve, top),
    *(runs, resume, approve),
    *(evaluate, mcp, doctor, fusion_check, version),
)

for _verb in _OF_APPS:
    app.command(context_settings=_TAKES_APP)(_verb)
for _verb in _OTHERS:
    app.command()(_verb)
for _group, _name in ((models, "models"), (engine, "engine"), (device, "device"), (cache, "cache")):
    app.add_typer(_group, name=_name)


def main() -> None:
    """The console script `teola`."""
    with _as_a_process():
        app(prog_name="teola")


def run_graph() -> None:
    """The console script `run-graph`, the same as `teola run`."""
    from teola.cli.run_command import run as run_words

    with _as_a_process():
        run_words(sys.argv[1:], "run-graph")


@contextmanager
def _as_a_process() -> Iterator[None]:
    """What a command does only when it is the process: mend its streams, and end it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character
    code: str | int | None = None
    try:
        yield
    except SystemExit as end:
        code = end.code
        raise
    finally:
        # A tool that was given up may still run in a thread, which the interpreter would wait for.
        if _close_engines() and code in (FAILED, WAITING, IN_DOUBT, INTERRUPTED):
            os._exit(int(code))


def _close_engines() -> bool:
    """Here and not at the interpreter's exit, where engines can no longer use threads."""
    runner = sys.modules.get("teola.runner")
    has_run: bool = runner is not None and runner.has_default_runner()
    if runner is not None and has_run:
        with suppress(Exception, KeyboardInterrupt):  # engines that hang, a second Ctrl-C
            runner.default_runner().close()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    return has_run
