"""`teola runs`, `teola resume` and `teola approve`: runs that are kept on disk."""

from pathlib import Path
from typing import Annotated

import typer

from teola.cli.engine_verbs import Debug

Runs = Annotated[
    Path | None,
    typer.Option("--runs", metavar="FOLDER", help="The folder; default: $TEOLA_RUNS, or teola's."),
]
RunId = Annotated[str, typer.Argument(metavar="ID", help="Of the run, or how it begins.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
InDoubt = Annotated[
    str,
    typer.Option(
        metavar="stop|retry|skip",
        help="What becomes of an effect that had begun when the run ended: stop with an error, run "
        "it again, or go on with None as its value.",
    ),
]


def runs(
    run_id: Annotated[str | None, typer.Argument(metavar="ID", help="Show this one.")] = None,
    folder: Runs = None,
    delete: Annotated[bool, typer.Option("--delete", help="Forget the run ID.")] = False,
    prune: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="DAYS", help="Forget the runs that finished so long ago."),
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="List those alone: waiting, failed, crashed, finished ...")
    ] = None,
    app: Annotated[str | None, typer.Option(metavar="NAME", help="List those of this app.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="List so many, the newest first.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="List those behind this one: the next page.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the runs that are kept on disk, or show, delete or prune them."""
    from teola.cli.stored_command import Chosen, list_runs

    list_runs(run_id, folder, delete, prune, Chosen(state, app, limit, after), as_json, debug)


def resume(
    run_id: RunId,
    folder: Runs = None,
    in_doubt: InDoubt = "stop",
    engine: Annotated[
        list[str] | None, typer.Option(metavar="NAME=URL", help="Another engine; repeatable.")
    ] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no summary.")] = False,
    debug: Debug = False,
) -> None:
    """Go on with a run that ended without its result; what it finished is not done again."""
    from teola.cli.stored_command import resume_run

    resume_run(run_id, folder, in_doubt, engine or [], as_json, quiet, debug)


def approve(
    run_id: RunId,
    no: Annotated[bool, typer.Option("--no", help="It may not happen.")] = False,
    value: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="The answer, where it asks for more than yes or no."),
    ] = None,
    question: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Which one, of those that `teola runs ID` shows."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who answers; default: your user name.")
    ] = None,
    later: Annotated[
        bool, typer.Option("--later", help="Keep the answer alone; `teola resume` goes on.")
    ] = False,
    folder: Runs = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no summary.")] = False,
    debug: Debug = False,
) -> None:
    """Answer what a run waits for (`tl.approve`), and go on with it."""
    from teola.cli.stored_command import approve_run

    approve_run(run_id, no, value, question, by, later, folder, as_json, quiet, debug)
