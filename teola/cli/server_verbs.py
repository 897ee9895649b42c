"""The commands that serve: `teola serve-engine`, `serve` and `mcp`."""

from pathlib import Path
from typing import Annotated

import typer

from teola.cli.engine_verbs import Debug
from teola.cli.server_options import ServerOptions, with_server_options
from teola.cli.tenant_option import TenantHeader
from teola.serving.client_rules import ClientRules, PriorityRule


@with_server_options(port=30000)
def serve_engine(
    llm: Annotated[
        str | None, typer.Argument(metavar="URL", help="The LLM: local:smollm2-135m")
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="URL of an embedder to serve too, or alone.")
    ] = None,
    reranker: Annotated[
        str | None, typer.Option(help="URL of a reranker to serve too, or alone.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Of the LLM, or embedder.NAME=VALUE; repeatable."),
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="A LoRA adapter, as a model NAME; repeatable."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What clients call the LLM.")] = None,
    max_queued: Annotated[
        int, typer.Option(min=0, help="Answers that may wait; more are refused with 429.")
    ] = 256,
    exact: Annotated[
        bool, typer.Option("--exact", help="Refuse KV cache fusion, which changes answers.")
    ] = False,
    client_priority: Annotated[
        PriorityRule, typer.Option(help="What clients may ask for; lower: none above 0.")
    ] = PriorityRule.LOWER,
    client_policy: Annotated[
        bool, typer.Option("--client-policy", help="Its one client says how the LLM orders.")
    ] = False,
    parse_special: Annotated[
        bool, typer.Option("--parse-special", help="Markup in prompts is markup, not text.")
    ] = False,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Serve every name of a model that clients send.")
    ] = False,
    tenant_header: TenantHeader = None,
    server: ServerOptions = ServerOptions(),  # noqa: B008 - frozen
    debug: Debug = False,
) -> None:
    """Serve engines over OpenAI's HTTP API: teola serve-engine local:smollm2-135m"""
    from teola.cli.serve_engine_command import serve_engine as serve_urls

    rules = ClientRules(
        exact, client_priority, parse_special, any_model, client_policy, tenant_header
    )
    urls, words, loras = (llm, embedder, reranker), option or [], lora or []
    serve_urls(urls, words, loras, name, max_queued, rules, server, debug)


@with_server_options(port=8000)
def serve(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="APP...", help="app.py:name, several if you like.")
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(metavar="NAME=URL", help="Another engine; repeatable.")
    ] = None,
    max_runs: Annotated[
        int, typer.Option(min=1, help="Runs at once; more are refused with 429.")
    ] = 64,
    run_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="A run that takes longer is stopped.")
    ] = None,
    show_errors: Annotated[
        bool, typer.Option("--show-errors", help="Tell clients what exceptions of apps say.")
    ] = False,
    runs: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep runs on disk: a crash, or days, end none."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the runs that were not finished there.")
    ] = False,
    keep_runs: Annotated[
        int, typer.Option(min=1, help="Ended runs that stay on disk, the latest.")
    ] = 10_000,
    keep_days: Annotated[
        float | None, typer.Option(min=0.0, help="Forget runs that ended so long ago.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose run goes first: vtc, justitia ...")
    ] = None,
    tenant_header: TenantHeader = None,
    server: ServerOptions = ServerOptions(),  # noqa: B008 - frozen
    debug: Debug = False,
) -> None:
    """Serve apps over HTTP: teola serve app.py:name"""
    from teola.cli.serve_command import KeepsRuns, Orders, serve_apps

    kept = KeepsRuns(runs, resume, keep_runs, keep_days)
    orders = Orders(policy, tenant_header)
    words = targets or [], engine or []
    serve_apps(*words, max_runs, run_timeout, show_errors, kept, orders, server, debug)


def mcp(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="APP...", help="app.py:name, several if you like.")
    ] = None,
    http: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Over HTTP; left out: stdin and stdout.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the server calls itself.")] = "teola",
    debug: Debug = False,
) -> None:
    """Serve apps and agents as tools of an MCP server: teola mcp app.py:name"""
    from teola.cli.mcp_command import serve_mcp

    serve_mcp(targets or [], name, http, debug)
