"""The words of `teola device`: what emulated engines can be on."""

from pathlib import Path
from typing import Annotated

import typer

from teola.cli.engine_verbs import Debug, NoColor

device = typer.Typer(
    help="Devices and models for emulated engines: emulated:DEVICE/MODEL.", no_args_is_help=True
)


@device.command("list")
def list_devices(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """List the devices and models that teola knows the figures of."""
    from teola.cli.device_command import show_devices

    show_devices(as_json, no_color, debug)


@device.command("measure")
def measure_device(
    file: Annotated[Path, typer.Argument(help="Device file (TOML) to write.")],
    model: Annotated[
        str, typer.Option(help="Of the catalogue, a file or a folder: the LLM to measure with.")
    ] = "local:smollm2-135m",
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Measure this machine as the embedded LLM engine uses it: takes a minute or two, idle.

    The file then stands for the machine: emulated:FILE/smollm2-135m.
    """
    from teola.cli.device_command import measure_this_machine

    measure_this_machine(file, model, no_color, debug)
