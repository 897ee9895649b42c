"""The commands that look and measure: `teola trace`, `profile`, `top`, `doctor`, `fusion-check`."""

from pathlib import Path
from typing import Annotated

import typer

from teola.cli.engine_verbs import Debug, NoColor


def trace(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Written by `run-graph --trace FILE`."),
    ],
    level: Annotated[
        str | None, typer.Option(help="Calls only (user, the default), or also primitive.")
    ] = None,
    with_plan: Annotated[
        bool, typer.Option("--plan", help="Compare the run with what its plan expected.")
    ] = False,
    why: Annotated[
        bool, typer.Option("--why", help="What primitives waited for: teola trace FILE --why NODE")
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
    from teola.cli.failures import reported
    from teola.cli.trace_command import one_file, show_trace
    from teola.cli.trace_options import check_together
    from teola.cli.web_command import write_page
    from teola.cli.why_command import show_why

    shown = {"--plan": with_plan, "--json": as_json, "--all": show_all, "--level": level}
    with reported(debug):
        check_together({"--web": web, "--otlp": otlp, "--chrome": chrome, "--why": why, **shown})
    if web:
        write_page(files, beside, debug)
        return
    if why:
        show_why(files, show_all, no_color, debug)
        return
    file = one_file(files, beside, debug)
    if otlp is not None or chrome is not None:
        from teola.cli.trace_exports import export_trace

        export_trace(file, otlp, chrome, debug)
        return
    show_trace(file, level or "user", with_plan, as_json, show_all, no_color, debug)


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
