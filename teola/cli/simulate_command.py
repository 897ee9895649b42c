"""`teola simulate APP`: an app under load on emulated engines and a virtual clock."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from backends.policy.named import POLICIES, policy_named
from frontend_dsl.engine_names import engines_read_by
from teola.cli.app_arguments import Command, Invocation, parse
from teola.cli.consoles import stderr_console, stdout_console
from teola.cli.failures import CommandError, UsageError, reported
from teola.cli.options import COMMON, Option
from teola.cli.results import json_text
from teola.cli.run_command import named_engine
from teola.simulation.arrivals import Load
from teola.simulation.fleet import fleet_of
from teola.simulation.served import Figures
from teola.simulation.simulate import Simulation

DEVICE = "h100"
OPTIONS = (
    Option("rate", "queries a second, at random (Poisson); a trace is stretched to it", "R"),
    Option("queries", "so many queries (default: those of the trace, or 100)", "N"),
    Option("duration", "queries that come within so many seconds", "SECONDS"),
    Option(
        "trace",
        "arrivals from a file: Azure's CSV, Mooncake's JSONL, or context_tokens,generated_tokens; "
        "what LLMs write is as long as its outputs",
        "FILE",
    ),
    Option(
        "inputs", "JSONL: the arguments of a query a line, taken in turn, over those given", "FILE"
    ),
    Option(
        "engines",
        f"the devices: 2xh100 is two H100s for each LLM; h100x4 is one LLM on four (default: "
        f"{DEVICE}; see teola device list)",
        "[Nx]DEVICE",
        {"default": DEVICE},
    ),
    Option(
        "engine",
        "another emulated engine for one name, like llm=emulated:4xa100/qwen2.5-32b; repeatable",
        "NAME=URL",
        {"action": "append", "default": []},
    ),
    Option(
        "policy",
        f"the orders to compare, by commas: {', '.join(sorted(POLICIES))} (default: the app's)",
        "NAME[,NAME]",
    ),
    Option("seed", "another seed gives other arrivals (default: 0)", "N", {"default": "0"}),
    Option("json", "one JSON object on stdout"),
    Option("log", "write the trace to FILE; of several policies a file each: FILE-NAME", "FILE"),
    Option("quiet", "no progress"),
    *COMMON,
)
ABOUT = (
    "Run an app under load: queries come at random or as in a trace, the runtime and the planner "
    "of the engines are the real ones, devices are emulated and time is virtual. The same command "
    "gives the same figures on every machine."
)
ROWS = (
    ("mean_s", "mean s"),
    ("p50_s", "P50 s"),
    ("p95_s", "P95 s"),
    ("p99_s", "P99 s"),
    ("ttft_mean_s", "TTFT mean s"),
    ("ttft_p99_s", "TTFT P99 s"),
    ("queries_s", "queries/s"),
    ("decoded_tokens_s", "tokens/s"),
    ("cached_share", "prompt cached"),
    ("preemptions", "preemptions"),
    ("wasted_tokens", "wasted tokens"),
    ("failed", "failed"),
)


def run(words: Sequence[str]) -> None:
    """The whole command; ends the process when anything fails."""
    with reported("--debug" in words or "--run-debug" in words):
        has_inputs = any(word.partition("=")[0].endswith("-inputs") for word in words)
        invocation = parse(Command("teola simulate", ABOUT, OPTIONS, not has_inputs), words)
        options = invocation.options
        arrivals = list(load_of(options).arrivals())
        policies = policies_of(options.policy)
        console = Console(quiet=True) if options.quiet else stderr_console(options.no_color)
        found: dict[str, Figures] = {}
        with _progress(console, len(policies) * len(arrivals)) as progress:
            for number, policy in enumerate(policies):
                simulation = _simulation(invocation, policy, len(policies) > 1)
                progress.begin(policy or "the app's policy", number * len(arrivals))
                found[policy or "default"] = simulation.run(arrivals, policy, progress.ended)
        if options.json:
            print(json_text(_report(invocation, simulation.engines, found)))
        else:
            stdout_console(options.no_color).print(_table(invocation.app.name, found))
        _check_any(found)


def load_of(options: argparse.Namespace) -> Load:
    """What comes. Raises UsageError."""
    rate, duration = (_number(options, name, float) for name in ("rate", "duration"))
    queries, seed = (_number(options, name, int) for name in ("queries", "seed"))
    return Load(rate, queries, duration, options.trace, seed or 0)


def policies_of(names: str | None) -> list[str | None]:
    """Raises ConfigError."""
    if names is None:
        return [None]
    return [policy_named(name.strip()).name for name in names.split(",")]


def inputs_of(path: str | None, arguments: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The arguments of queries, in turn. Raises UsageError."""
    if path is None:
        return [arguments]
    found: list[Mapping[str, Any]] = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{path}: line {number} is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise UsageError(f"{path}: line {number} is no object of arguments")
        found.append({**arguments, **row})
    if not found:
        raise UsageError(f"{path}: there are no arguments in it")
    return found


def _number(options: argparse.Namespace, name: str, read: type[float] | type[int]) -> Any:
    text = getattr(options, name)
    try:
        return None if text is None else read(text)
    except ValueError:
        raise UsageError(f"--{name} is a number, not {text!r}") from None


def _simulation(invocation: Invocation, policy: str | None, is_one_of_several: bool) -> Simulation:
    app, options = invocation.app, invocation.options
    named = {**app.options.engines, **dict(map(named_engine, options.engine))}
    known = engines_read_by(app._app_function)
    engines = fleet_of(known, options.engines, named, options.trace, policy)
    inputs = inputs_of(options.inputs, invocation.arguments)
    log = None if options.log is None else Path(options.log)
    if log is not None and is_one_of_several:
        log = log.with_stem(f"{log.stem}-{policy}")
    return Simulation(app, inputs, {**named, **engines}, log)


def _report(
    invocation: Invocation, engines: Mapping[str, str], found: Mapping[str, Figures]
) -> Mapping[str, Any]:
    options = invocation.options
    asked = {name: getattr(options, name) for name in ("rate", "queries", "duration", "trace")}
    return {
        "app": invocation.app.name,
        "seed": int(options.seed),
        **{name: value for name, value in asked.items() if value is not None},
        "engines": engines,
        "policies": {name: figures.as_json() for name, figures in found.items()},
    }


def _table(app: str, found: Mapping[str, Figures]) -> Table:
    table = Table(title=f"{app}() simulated", title_justify="left")
    table.add_column("")
    for policy in found:
        table.add_column(policy, justify="right")
    for name, title in ROWS:
        table.add_row(title, *(_cell(getattr(figures, name)) for figures in found.values()))
    for engine in next(iter(found.values())).utilisation:
        shares = (f"{figures.utilisation[engine]:.0%}" for figures in found.values())
        table.add_row(f"{engine} busy", *shares)
    return table


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _check_any(found: Mapping[str, Figures]) -> None:
    if all(figures.failed == figures.queries for figures in found.values()):
        first = next(iter(found.values())).first_error
        raise CommandError(f"every query failed; the first: {first}")


class _Shown:
    """The bar of all runs."""

    def __init__(self, bar: Progress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total)
        self._before = 0

    def begin(self, what: str, before: int) -> None:
        self._before = before
        self._bar.update(self._task, description=what, completed=before)

    def ended(self, count: int) -> None:
        self._bar.update(self._task, completed=self._before + count)


@contextmanager
def _progress(console: Console, total: int) -> Iterator[_Shown]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    is_hidden = not console.is_terminal
    with (
        redirect_stdout(sys.stderr),  # what apps print
        Progress(
            *columns,
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=is_hidden,
            redirect_stdout=False,
        ) as bar,
    ):
        yield _Shown(bar, total)
