"""The entry points `teola` and `run-graph`."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from teola.cli.device_verbs import device
from teola.cli.engine_verbs import Debug, NoColor, engine
from teola.cli.failures import FAILED, INTERRUPTED
from teola.serving.client_rules import ClientRules, PriorityRule

app = typer.Typer(
    help="Compile LLM apps to graphs of primitives and run them fast on models you host.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Their arguments depend on the app, so they parse their words themselves, `--help` too.
_TAKES_APP = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


@app.command(context_settings=_TAKES_APP)
def run(context: typer.Context) -> None:
    """Run an app: teola run app.py:name --argument ..."""
    from teola.cli.run_command import run as run_words

    run_words(context.args, "teola run")


@app.command(context_settings=_TAKES_APP)
def graph(context: typer.Context) -> None:
    """Draw an app's graph: teola graph app.py:name"""
    from teola.cli.graph_command import graph as graph_words

    graph_words(context.args)


@app.command(context_settings=_TAKES_APP)
def plan(context: typer.Context) -> None:
    """Show what the optimizer does to an app's graph: teola plan app.py:name"""
    from teola.cli.plan_command import plan as plan_words

    plan_words(context.args)


@app.command()
def trace(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Written by `run-graph --trace FILE`."),
    ],
    level: Annotated[str, typer.Option(help="Calls only (user), or also primitive.")] = "user",
    with_plan: Annotated[
        bool, typer.Option("--plan", help="Compare the run with what its plan expected.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The computed trace as JSON.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Every primitive of an engine.")] = False,
    web: Annotated[
        bool, typer.Option("--web", help="Write a page for a browser: teola trace FILE --web PAGE")
    ] = False,
    beside: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --web: another trace, to compare.")
    ] = None,
    otlp: Annotated[
        str | None,
        typer.Option(metavar="URL|FILE", help="Send OpenTelemetry spans, or write them."),
    ] = None,
    chrome: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a trace for ui.perfetto.dev.")
    ] = None,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Show where the time of a run went: calls, engines, critical path."""
    from teola.cli.trace_command import one_file, show_trace
    from teola.cli.web_command import write_page

    if web:
        write_page(files, beside, debug)
        return
    file = one_file(files, beside, debug)
    if otlp is not None or chrome is not None:
        from teola.cli.trace_exports import export_trace

        export_trace(file, otlp, chrome, debug)
        return
    show_trace(file, level, with_plan, as_json, show_all, no_color, debug)


@app.command()
def profile(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="APP_OR_URL...", help="Apps, for each of their engines, or URLs."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Of a URL: llm, embedder, reranker or store.")
    ] = None,
    budget: Annotated[float, typer.Option(min=0.1, help="About so many seconds an engine.")] = 20.0,
    list_all: Annotated[bool, typer.Option("--list", help="Show what was profiled.")] = False,
    clear_all: Annotated[bool, typer.Option("--clear", help="Remove all profiles.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Measure engines: plans then know what pays, schedulers how large a batch should be."""
    from teola.cli.profile_command import profile as profile_engines

    profile_engines(targets or [], kind, budget, list_all, clear_all, as_json, no_color, debug)


@app.command("serve-engine")
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
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 30000,
    api_key: Annotated[
        str | None, typer.Option(envvar="TEOLA_API_KEY", help="Clients must send it.")
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
    drain: Annotated[
        float, typer.Option(min=1, help="Seconds for running requests after SIGTERM.")
    ] = 30.0,
    exact: Annotated[
        bool, typer.Option("--exact", help="Refuse KV cache fusion, which changes answers.")
    ] = False,
    client_priority: Annotated[
        PriorityRule, typer.Option(help="What clients may ask for; lower: none above 0.")
    ] = PriorityRule.LOWER,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Serve every name of a model that clients send.")
    ] = False,
    max_body_mb: Annotated[
        float, typer.Option(min=0.01, help="MiB of a request's body; larger ones get 413.")
    ] = 16.0,
    max_body_items: Annotated[
        int, typer.Option(min=1, help="Items of all lists and objects of a body together.")
    ] = 2**18,
    max_connections: Annotated[
        int, typer.Option(min=1, help="One more takes the place of the longest idle.")
    ] = 1024,
    header_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for the head of a request.")
    ] = 10.0,
    body_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for the body of a request.")
    ] = 30.0,
    access_log: Annotated[
        str | None, typer.Option(metavar="FILE", help="One line of JSON a request; -: stderr.")
    ] = None,
    otel: Annotated[
        str | None, typer.Option(metavar="URL", help="Send OpenTelemetry spans there; env: as set.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Serve engines over OpenAI's HTTP API: teola serve-engine local:smollm2-135m"""
    from teola.cli.serve_engine_command import serve_engine as serve_urls
    from teola.serving.limits import MIB, Limits

    rules = ClientRules(exact, client_priority, any_model)
    urls = (llm, embedder, reranker)
    words, loras = option or [], lora or []
    address = (host, port)
    limits = Limits(
        round(max_body_mb * MIB), max_body_items, max_connections, header_timeout, body_timeout
    )
    bounds = (max_queued, drain, rules, limits, access_log, otel)
    serve_urls(urls, words, loras, name, address, api_key, *bounds, debug)


@app.command()
def serve(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="APP...", help="app.py:name, several if you like.")
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(metavar="NAME=URL", help="Another engine; repeatable.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8000,
    api_key: Annotated[
        str | None, typer.Option(envvar="TEOLA_API_KEY", help="Clients must send it.")
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Web pages that may call it; *: all; repeatable."),
    ] = None,
    max_runs: Annotated[
        int, typer.Option(min=1, help="Runs at once; more are refused with 429.")
    ] = 64,
    run_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="A run that takes longer is stopped.")
    ] = None,
    drain: Annotated[
        float, typer.Option(min=1, help="Seconds for running requests after SIGTERM.")
    ] = 30.0,
    max_body_mb: Annotated[
        float, typer.Option(min=0.01, help="MiB of a request's body; larger ones get 413.")
    ] = 16.0,
    access_log: Annotated[
        str | None, typer.Option(metavar="FILE", help="One line of JSON a request; -: stderr.")
    ] = None,
    otel: Annotated[
        str | None, typer.Option(metavar="URL", help="Send OpenTelemetry spans there; env: as set.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Serve apps over HTTP: teola serve app.py:name"""
    from teola.cli.serve_command import serve_apps
    from teola.serving.limits import MIB, Limits

    limits = Limits(round(max_body_mb * MIB))
    bounds = (max_runs, run_timeout, drain, limits, access_log, otel)
    serve_apps(targets or [], engine or [], (host, port), api_key, cors or [], *bounds, debug)


@app.command()
def top(
    urls: Annotated[
        list[str] | None,
        typer.Argument(metavar="URL...", help="Servers; left out: on ports 8000 and 30000 here."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="TEOLA_API_KEY", help="What the servers ask for.")
    ] = None,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    sort: Annotated[
        str, typer.Option(help="Runs by age, tokens or app; key s changes it.")
    ] = "age",
    once: Annotated[bool, typer.Option("--once", help="Print it once, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Once, as JSON.")] = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Show what servers of apps and engines do now; q leaves."""
    from teola.cli.top_command import show_top

    show_top(urls or [], api_key, interval, sort, once, as_json, no_color, debug)


@app.command()
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


@app.command("mcp")
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


models = typer.Typer(help="The models teola can fetch and run.", no_args_is_help=True)
app.add_typer(models, name="models")


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


app.add_typer(engine, name="engine")
app.add_typer(device, name="device")

cache = typer.Typer(help="What apps remember of earlier work, on disk.", no_args_is_help=True)
app.add_typer(cache, name="cache")

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


@app.command()
def doctor(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="APP_OR_URL...", help="Apps, for their engines, or engines' URLs."),
    ] = None,
    with_speed: Annotated[
        bool, typer.Option("--measure", help="Run the default model for some seconds.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Show what models run on here, what engines' servers say of themselves, and what is wrong."""
    from teola.cli.doctor_command import show_health

    show_health(targets or [], with_speed, as_json, no_color, debug)


@app.command("fusion-check")
def fusion_check(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="local:smollm2-135m")],
    plan: Annotated[
        list[str] | None,
        typer.Option(help="Check this plan, as query(0.15); repeatable. Left out: the usual ones."),
    ] = None,
    questions: Annotated[int, typer.Option(min=2, max=20, help="So many of those bundled.")] = 20,
    floor: Annotated[
        float, typer.Option(max=1, help="Engines refuse plans that recover less.")
    ] = 0.1,
    dtype: Annotated[str, typer.Option(help="Of the model; auto: what engines use.")] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="The profile as JSON.")] = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Measure what KV cache fusion loses on a model, plan by plan, and keep it as its profile."""
    from teola.cli.fusion_check_command import check_fusion

    check_fusion(model, plan or [], questions, floor, dtype, as_json, no_color, debug)


@app.command()
def version() -> None:
    """Print the version."""
    from teola import __version__

    print(f"teola {__version__}")


def main() -> None:
    """The console script `teola`."""
    with _as_a_process():
        app(prog_name="teola")


def run_graph() -> None:
    """The console script `run-graph`, the same as `teola run`."""
    from teola.cli.run_command import run as run_words

    with _as_a_process():
        run_words(sys.argv[1:], "run-graph")


@contextmanager
def _as_a_process() -> Iterator[None]:
    """What a command does only when it is the process: mend its streams, and end it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character
    code: str | int | None = None
    try:
        yield
    except SystemExit as end:
        code = end.code
        raise
    finally:
        # A tool that was given up may still run in a thread, which the interpreter would wait for.
        if _close_engines() and code in (FAILED, INTERRUPTED):
            os._exit(int(code))


def _close_engines() -> bool:
    """Here and not at the interpreter's exit, where engines can no longer use threads."""
    runner = sys.modules.get("teola.runner")
    has_run: bool = runner is not None and runner.has_default_runner()
    if runner is not None and has_run:
        with suppress(Exception, KeyboardInterrupt):  # engines that hang, a second Ctrl-C
            runner.default_runner().close()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    return has_run
