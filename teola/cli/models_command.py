"""`teola models list | fetch | where | export`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, cast

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from backends.errors import EngineUnavailable
from backends.models.fetch import FetchProgress, ModelStatus, fetch, locate, resolve, status
from backends.native.build import build_in_background
from backends.optional import optional_imports
from teola.cli.consoles import stderr_console, stdout_console
from teola.cli.failures import UsageError, reported
from teola.cli.results import json_text
from teola.viewer.tables import name_cell


def show_models(as_json: bool, no_color: bool, debug: bool) -> None:
    """The catalogue as a table or as JSON."""
    with reported(debug):
        if as_json:
            print(json_text([_model_json(known) for known in status()], indent=2))
        else:
            stdout_console(no_color).print(_table(status()))


def fetch_all(names: Sequence[str], no_color: bool, debug: bool) -> None:
    """Fetch each model, and compile what runs them where that was not done yet; an unknown name is
    refused before anything is downloaded."""
    with reported(debug):
        for name in names:
            with suppress(EngineUnavailable):  # known, and not here yet
                locate(name)
        kernels = build_in_background()  # a compiler and a download do not disturb each other
        with _progress(stderr_console(no_color)) as tell:
            paths = [fetch(name, tell) for name in names]
        kernels.join()
        for path in paths:
            print(path)


def show_path(name: str, debug: bool) -> None:
    """The path of a fetched model."""
    with reported(debug):
        print(locate(name))


def export(name: str, folder: Path, dtype: str, debug: bool) -> None:
    """Write a GGUF model of the catalogue, or one at a path, as a Hugging Face folder."""
    with reported(debug):
        if dtype not in ("float32", "bfloat16"):
            raise UsageError(f"--dtype is float32 or bfloat16, not {dtype!r}")
        with optional_imports("local"):
            from backends.llm.export import export_model
        print(export_model(resolve(name), folder, cast(Literal["float32", "bfloat16"], dtype)))


def _table(known: Sequence[ModelStatus]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("name", "kind", "size", "licence", "fetched", "about"):
        table.add_column(
            name, justify="right" if name == "size" else "left", no_wrap=name != "about"
        )
    for model_status in known:
        model = model_status.model
        size = sum(file.size_bytes for file in model.files)
        cells = (model.name, model.kind, decimal(size), model.license)
        table.add_row(*cells, _fetched(model_status), name_cell((model.about, "dim")))
    return table


def _fetched(known: ModelStatus) -> Text:
    if known.path is not None:
        return Text("yes", "green")
    return Text(f"{decimal(known.partial_bytes)} of it" if known.partial_bytes else "no", "yellow")


def _model_json(known: ModelStatus) -> dict[str, object]:
    model = known.model
    return {
        "name": model.name,
        "kind": model.kind,
        "about": model.about,
        "license": model.license,
        "size_bytes": sum(file.size_bytes for file in model.files),
        "path": known.path,
    }


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[FetchProgress], None]]:
    """A bar a model on a terminal, else one line when its download begins."""
    seen: dict[str, int] = {}
    if not console.is_terminal:

        def say(now: FetchProgress) -> None:
            if now.name not in seen:
                seen[now.name] = 0
                console.print(f"fetching {now.name}, {decimal(now.total_bytes)}")

        yield say
        return
    name_column = TextColumn("{task.description}", markup=False)
    columns = (name_column, BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as bars:

        def draw(now: FetchProgress) -> None:
            if now.name not in seen:
                seen[now.name] = bars.add_task(now.name, total=now.total_bytes)
            bars.update(bars.task_ids[seen[now.name]], completed=now.done_bytes)

        yield draw
