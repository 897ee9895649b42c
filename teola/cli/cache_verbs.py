"""`teola cache`: what apps remember on disk."""

from pathlib import Path
from typing import Annotated

import typer

from teola.cli.engine_verbs import Debug

cache = typer.Typer(help="What apps remember of earlier work, on disk.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Argument(help="Given to `--memo FOLDER` or `using(memo=FOLDER)`; default: that of disk."),
]


@cache.command("show")
def show_cache(
    folder: Folder = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Show where remembered work is and how much of it there is."""
    from teola.cli.cache_command import show_memo

    show_memo(folder, as_json, debug)


@cache.command("clear")
def clear_cache(folder: Folder = None, debug: Debug = False) -> None:
    """Forget remembered work; it is computed again when it is needed."""
    from teola.cli.cache_command import clear_memo

    clear_memo(folder, debug)
