"""`teola models`: the models that can be fetched and run."""

from pathlib import Path
from typing import Annotated

import typer

from teola.cli.engine_verbs import Debug, NoColor

models = typer.Typer(help="The models teola can fetch and run.", no_args_is_help=True)


@models.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """List the catalogue, and what of it is on this machine."""
    from teola.cli.models_command import show_models

    show_models(as_json, no_color, debug)


@models.command("fetch")
def fetch_models(
    names: Annotated[list[str], typer.Argument(help="Of the catalogue, or hf:ORG/NAME.")],
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Download models; prints where each of them is."""
    from teola.cli.models_command import fetch_all

    fetch_all(names, no_color, debug)


@models.command("where")
def where_is_model(name: str, debug: Debug = False) -> None:
    """Print the path of a fetched model."""
    from teola.cli.models_command import show_path

    show_path(name, debug)


@models.command("export")
def export_model(
    name: Annotated[str, typer.Argument(help="Of the catalogue, or a path of a GGUF file.")],
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    dtype: Annotated[str, typer.Option(help="float32, which is exact, or bfloat16.")] = "float32",
    debug: Debug = False,
) -> None:
    """Write a GGUF model as a Hugging Face folder, for vLLM, SGLang and transformers."""
    from teola.cli.models_command import export

    export(name, folder, dtype, debug)
