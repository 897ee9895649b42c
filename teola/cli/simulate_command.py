"""`teola simulate APP`: an app under load on emulated engines and a virtual clock."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from backends.policy.named import POLICIES, policy_named
from frontend_dsl.engine_names import engines_read_by
from teola.cli.app_arguments import Command, Invocation, parse
from teola.cli.consoles import stderr_console, stdout_console
from teola.cli.failures import UsageError, reported
from teola.cli.options import COMMON, Option
from teola.cli.results import json_text
from teola.cli.run_command import named_engine
from teola.cli.simulate_tables import check_any, figures_table, shown_progress
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
    "Run an app under load, or, without an app, the requests of a trace (teola simulate chat): "
    "queries come at random or as in a trace, the runtime and the planner of the engines are the "
    "real ones, devices are emulated and time is virtual. The same command gives the same figures "
    "on every machine."
)


def run(words: Sequence[str]) -> None:
    """The whole command; ends the process when anything fails."""
    if words[:1] == ["chat"]:
        from teola.cli.simulate_chat import run_chat

        run_chat(words[1:])
        return
    with reported("--debug" in words or "--run-debug" in words):
        has_inputs = any(word.partition("=")[0].endswith("-inputs") for word in words)
        invocation = parse(Command("teola simulate", ABOUT, OPTIONS, not has_inputs), words)
        options = invocation.options
        arrivals = list(load_of(options).arrivals())
        policies = policies_of(options.policy)
        console = Console(quiet=True) if options.quiet else stderr_console(options.no_color)
        found: dict[str, Figures] = {}
        with shown_progress(console, len(policies) * len(arrivals)) as progress:
            for number, policy in enumerate(policies):
                simulation = _simulation(invocation, policy, len(policies) > 1)
                progress.begin(policy or "the app's policy", number * len(arrivals))
                found[policy or "default"] = simulation.run(arrivals, policy, progress.ended)
        if options.json:
            print(json_text(_report(invocation, simulation.engines, found)))
        else:
            stdout_console(options.no_color).print(figures_table(f"{invocation.app.name}()", found))
        check_any(found)


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


def log_of(log: str | None, policy: str | None, *, is_one_of_several: bool) -> Path | None:
    """The trace file of a policy."""
    if log is None or not is_one_of_several:
        return None if log is None else Path(log)
    return Path(log).with_stem(f"{Path(log).stem}-{policy}")


def _simulation(invocation: Invocation, policy: str | None, is_one_of_several: bool) -> Simulation:
    app, options = invocation.app, invocation.options
    named = {**app.options.engines, **dict(map(named_engine, options.engine))}
    known = engines_read_by(app._app_function)
    engines = fleet_of(known, options.engines, named, options.trace, policy)
    inputs = inputs_of(options.inputs, invocation.arguments)
    log = log_of(options.log, policy, is_one_of_several=is_one_of_several)
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
