"""`teola doctor`: facts as a table, what is wrong below it."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from backends.registry import EngineSpec
from frontend_dsl.engine_names import engines_read_by
from teola import errors
from teola.cli.consoles import stdout_console
from teola.cli.failures import FAILED, CommandError, UsageError, reported
from teola.cli.results import json_text
from teola.cli.target import load_app
from teola.doctor.engines import is_engine, kind_of
from teola.doctor.examination import Kernels, Report, examine
from teola.doctor.machine import Machine
from teola.doctor.measuring import Speed
from teola.doctor.packages import Extra
from teola.doctor.servers.checked import CheckedEngine


def show_health(
    targets: Sequence[str], with_speed: bool, as_json: bool, no_color: bool, debug: bool
) -> None:
    """Exit code 1 when something is wrong."""
    with reported(debug):
        report = examine(with_speed, *looked_at(targets))
        if as_json:
            print(json_text(report, indent=2))
        else:
            _show(stdout_console(no_color), report)
    if report.problems:
        raise SystemExit(FAILED)


def looked_at(targets: Sequence[str]) -> tuple[list[EngineSpec], list[str]]:
    """The engines that apps use, each once, and those of URLs; and why a target cannot be read."""
    found: dict[str, EngineSpec] = {}
    unread: list[str] = []
    for target in targets:
        try:
            for spec in _specs(target):
                found.setdefault(spec.key, spec)
        except (UsageError, CommandError, *errors.ALL) as error:
            unread.append(f"{target}: {error}")
    return [*found.values()], unread


def _specs(target: str) -> list[EngineSpec]:
    if is_engine(target):
        return [EngineSpec(kind_of(target), target)]
    specs = engines_read_by(load_app(target)._app_function).values()
    return [spec for spec in specs if spec.kind != "python"]


def _show(console: Console, report: Report) -> None:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, show_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in _facts(report):
        table.add_row(name, fact)
    console.print(table)
    for hint in report.hints:
        console.print(Text.assemble(("hint     ", "yellow"), hint), soft_wrap=True)
    for problem in report.problems:
        console.print(Text.assemble(("problem  ", "red"), problem), soft_wrap=True)
    if not report.problems:
        console.print(Text("nothing is wrong", "green"))


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    machine = report.machine
    yield "cpu", f"{machine.cpu}, {machine.usable_cores} of {machine.num_cores} cores usable"
    yield "sets", ", ".join(machine.isas) or "none that kernels are written for"
    yield "memory", _memory(machine)
    yield "kernels", _kernels(report.kernels)
    yield "torch", report.torch.version or "not installed"
    yield "gpu", ", ".join(report.torch.gpus) or "none that torch sees"
    for model in report.models:
        yield "model", f"{model.name}: {model.path or 'not fetched'}"
    for cache in report.caches:
        size = f"{cache.num_files} files, {decimal(cache.num_bytes)}"
        yield "cache", f"{cache.path}: {size}, mode {cache.mode}"
    if report.speed is not None:
        yield "speed", _speed(report.speed)
    yield "versions", ", ".join(f"{name} {number}" for name, number in report.versions.items())
    yield "extras", _extras(report.extras)
    for engine in report.engines:
        yield "engine", _engine(engine)


def _memory(machine: Machine) -> str:
    if machine.memory_bytes is None or machine.available_bytes is None:
        return "unknown"
    return f"{decimal(machine.available_bytes)} of {decimal(machine.memory_bytes)} available"


def _kernels(kernels: Kernels) -> str:
    if kernels.path is None or kernels.sha256 is None:
        return f"none: {kernels.reason}"
    return f"{kernels.isa}, {kernels.origin}: {kernels.path} (sha256 {kernels.sha256[:12]})"


def _speed(speed: Speed) -> str:
    prefill, decode = speed.prefill_tokens_per_s, speed.decode_tokens_per_s
    where = f"{speed.model} on {speed.runs_on}, {speed.dtype}"
    return f"{where}: prefill {prefill:.0f} tok/s, decode {decode:.1f} tok/s"


def _extras(extras: Sequence[Extra]) -> str:
    here = [extra.name for extra in extras if not extra.missing]
    missing = [f"{extra.name} (no {extra.missing[0]})" for extra in extras if extra.missing]
    return ", ".join(here) + (f"; not installed: {', '.join(missing)}" if missing else "")


def _engine(engine: CheckedEngine) -> str:
    if not engine.is_reachable:
        return f"{engine.url}: not there"
    facts = [" ".join(filter(None, (engine.kind, engine.version)))]
    if engine.models:
        facts.append(f"{', '.join(engine.models[:3])}{', ...' * (len(engine.models) > 3)}")
    if engine.context_tokens:
        facts.append(f"{engine.context_tokens:,} tokens of context")
    if engine.prefix_cache is not None:
        hits = "" if engine.hit_rate is None else f" ({engine.hit_rate:.0%} of prompt tokens)"
        facts.append(f"prefix cache {_on(engine.prefix_cache)}{hits}")
    for name, fact in (
        ("metrics", engine.metrics),
        ("priorities", engine.priorities),
        ("KV events", engine.kv_events),
    ):
        if fact is not None:
            facts.append(f"{name} {_on(fact)}")
    return f"{engine.url}: {', '.join(facts)}"


def _on(fact: bool) -> str:
    return "on" if fact else "off"
