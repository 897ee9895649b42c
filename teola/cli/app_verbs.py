"""The commands that run apps: `teola run`, `graph`, `plan`, `simulate` and `evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from teola.cli.engine_verbs import Debug


def run(context: typer.Context) -> None:
    """Run an app: teola run app.py:name --argument ..."""
    from teola.cli.run_command import run as run_words

    run_words(context.args, "teola run")


def graph(context: typer.Context) -> None:
    """Draw an app's graph: teola graph app.py:name"""
    from teola.cli.graph_command import graph as graph_words

    graph_words(context.args)


def plan(context: typer.Context) -> None:
    """Show what the optimizer does to an app's graph: teola plan app.py:name"""
    from teola.cli.plan_command import plan as plan_words

    plan_words(context.args)


def simulate(context: typer.Context) -> None:
    """Run an app under load, virtually: teola simulate app.py:name --argument ... --rate 4"""
    from teola.cli.simulate_command import run as run_words

    run_words(context.args)


def evaluate(
    target: Annotated[str, typer.Argument(metavar="APP", help="app.py:name")],
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help="JSONL: one object a line.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="exact_match, contains, f1, f1:FIELD, or file.py:function; repeatable."),
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(metavar="NAME=URL", help="Another engine; repeatable.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="So many rows at once.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Rows and scores as JSON.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the rows to this file.")] = None,
    debug: Debug = False,
) -> None:
    """Run an app on the rows of a dataset and score it: teola evaluate app.py:name data.jsonl"""
    from teola.cli.evaluate_command import evaluate_app

    metrics, engines = metric or ["exact_match"], engine or []
    evaluate_app(target, dataset, metrics, engines, concurrency, as_json, csv, debug)
