"""`teola doctor`: facts as a table, what is wrong below it."""

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from teola.cli.consoles import stdout_console
from teola.cli.failures import FAILED, reported
from teola.cli.results import json_text
from teola.doctor.examination import Kernels, Report, examine
from teola.doctor.machine import Machine
from teola.doctor.measuring import Speed


def show_health(with_speed: bool, as_json: bool, no_color: bool, debug: bool) -> None:
    """Exit code 1 when something is wrong."""
    with reported(debug):
        report = examine(with_speed)
        if as_json:
            print(json_text(report, indent=2))
        else:
            _show(stdout_console(no_color), report)
    if report.problems:
        raise SystemExit(FAILED)


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
