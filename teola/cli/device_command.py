"""What `teola device` does."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from backends.emulated.descriptions import catalogue, device_of, shape_of
from backends.errors import ConfigError
from backends.models.fetch import resolve
from backends.optional import optional_imports
from runtime.cost.profile_store import this_machine
from teola.cli.consoles import stderr_console, stdout_console
from teola.cli.failures import reported
from teola.cli.profile_command import is_busy
from teola.cli.results import json_text


def show_devices(as_json: bool, no_color: bool, debug: bool) -> None:
    """The catalogue, on stdout."""
    with reported(debug):
        devices, models = catalogue("devices"), catalogue("models")
        if as_json:
            print(json_text({"devices": devices, "models": models}, indent=2))
            return
        console = stdout_console(no_color)
        console.print(_device_table(devices))
        console.print(_model_table(models))


def measure_this_machine(file: Path, model: str, no_color: bool, debug: bool) -> None:
    """Write a device file. Raises ConfigError where it cannot be written."""
    with reported(debug):
        console = stderr_console(no_color)
        if not file.parent.is_dir():
            raise ConfigError(f"there is no folder {file.parent} for the device file")
        if is_busy():
            console.print("warning: this machine is busy, so times will be long", style="yellow")
        with optional_imports("local"):
            from backends.emulated.between_steps import gaps_between_steps, typical_gap_s
            from backends.emulated.fit import fit
            from backends.emulated.measure import (
                Stepper,
                as_toml,
                calibration,
                shape_of_model,
                with_sizes_of,
            )
            from backends.llm.loader import load_core
            from backends.llm.options import LLMOptions
        with console.status(f"loading {model}") as status:
            core = load_core(resolve(model), LLMOptions.model_validate({}))
            steps = calibration(Stepper(core), status.update)
            between_s = typical_gap_s(gaps_between_steps(core))
        shape = shape_of_model(core.model.config)
        source = f"measured with {model} on {this_machine()}"
        fitted = fit(steps, shape, _memory_bytes(), source, between_s)
        device = with_sizes_of(core, fitted)
        file.write_text(as_toml(device), encoding="utf-8")
        console.print(f"{len(steps)} steps measured; use it as emulated:{file}/MODEL")


def _device_table(devices: Mapping[str, Any]) -> Table:
    table = Table(title="devices", title_justify="left")
    for name in ("name", "bfloat16 TFLOP/s", "float8", "GB/s", "GB"):
        table.add_column(name, justify="left" if name == "name" else "right")
    table.add_column("source")
    for name in devices:
        device, _ = device_of(name)
        half, eighth = (
            f"{device.peak_flops[dtype] / 1e12:.0f}" if dtype in device.peak_flops else "-"
            for dtype in ("bfloat16", "float8")
        )
        rates = f"{device.bandwidth_bytes_s / 1e9:.0f}", f"{device.memory_bytes / 1e9:.0f}"
        table.add_row(name, half, eighth, *rates, device.source)
    return table


def _model_table(models: Mapping[str, Any]) -> Table:
    table = Table(title="models", title_justify="left")
    for name in ("name", "kind", "parameters", "tokens"):
        table.add_column(name, justify="left" if name in ("name", "kind") else "right")
    table.add_column("source")
    for name, entry in models.items():
        shape = shape_of(name, entry.get("kind", "llm"))
        size = f"{shape.num_params / 1e6:,.0f} M"
        table.add_row(name, shape.kind, size, f"{shape.max_tokens:,}", shape.source)
    return table


def _memory_bytes() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
