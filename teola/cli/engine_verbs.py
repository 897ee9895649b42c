"""The words of `teola engine`: servers of vLLM and SGLang on this machine."""

from pathlib import Path
from typing import Annotated

import typer

NoColor = Annotated[bool, typer.Option("--no-color", help="Plain text, as with NO_COLOR.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the stack trace of an error.")]
Python = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="The Python, or the environment, that has the server."),
]
Which = Annotated[
    str | None, typer.Argument(metavar="[SERVER]", help="Name, port or URL; default: the only one.")
]

engine = typer.Typer(
    help="Start vLLM and SGLang servers on this machine, and stop them.", no_args_is_help=True
)


@engine.command("start")
def start(
    server: Annotated[str, typer.Argument(help="vllm or sglang")],
    model: Annotated[
        str, typer.Option(help="Of the catalogue, a folder, or ORG/NAME on the Hugging Face hub.")
    ],
    extra: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- WORDS...]", help="For the server's own command line."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="0: a free one; default: 8000, SGLang 30000."),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the weights, as the server has it.")] = None,
    python: Python = None,
    wait: Annotated[float, typer.Option(min=1, help="Seconds until it must answer.")] = 1800.0,
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave it running in the background.")
    ] = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Start a server and print its URL: teola engine start vllm --model ORG/NAME

    In the foreground until Ctrl-C stops it, or with --detach until `teola engine stop`.
    """
    from teola.cli.engine_command import start_server
    from teola.launching.recipes import Settings

    settings = Settings(host, port, dtype, tuple(extra or ()))
    start_server(server, model, settings, python, wait, detach, no_color, debug)


@engine.command("list")
def list_servers(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """List the servers that run, and whether they answer."""
    from teola.cli.engine_command import show_servers

    show_servers(as_json, no_color, debug)


@engine.command("stop")
def stop(
    server: Which = None,
    stop_all: Annotated[bool, typer.Option("--all", help="Every one.")] = False,
    debug: Debug = False,
) -> None:
    """Stop a server with all its processes."""
    from teola.cli.engine_command import stop_servers

    stop_servers(server, stop_all, debug)


@engine.command("logs")
def logs(
    server: Which = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="So many last ones.")] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the server ends.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Show the end of a server's log; also of one that has ended, by its name."""
    from teola.cli.engine_command import show_log

    show_log(server, lines, follow, debug)


@engine.command("install")
def install(
    server: Annotated[str, typer.Argument(help="vllm or sglang")],
    cpu: Annotated[
        bool, typer.Option("--cpu", help="The build that needs no GPU (vLLM only).")
    ] = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Install a server in an environment of its own, in teola's cache folder."""
    from teola.cli.engine_command import install_server

    install_server(server, cpu, no_color, debug)
