"""`run-graph APP --argument ...`, which is also `teola run`."""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from backends.policy.named import POLICIES
from frontend_dsl.agents.errors import ApprovalPending
from runtime.errors import EffectInDoubt
from teola.cli.app_arguments import Command, Invocation, parse
from teola.cli.consoles import stderr_console
from teola.cli.failures import UsageError, message_of, reported
from teola.cli.live_run import Screen, run_app, run_app_virtually
from teola.cli.options import COMMON, Option
from teola.cli.progress import Progress
from teola.cli.results import as_text, json_text
from teola.cli.started_engines import START_OPTIONS, engines_started
from teola.viewer.model import Trace, whole_usage
from teola.viewer.runs import RunBuilder
from teola.viewer.summary import run_summary

OPTIONS = (
    Option("trace", "write the trace of the run to FILE", "FILE"),
    Option("trace-texts", "keep what the models write in the trace too"),
    Option("json", "one JSON object on stdout: result, seconds, tokens, status"),
    Option("no-optimize", "run the graph as written, one call after another"),
    Option(
        "engine",
        "use another engine: the name is the variable's, like llm=local:smollm2-135m; repeatable",
        "NAME=URL",
        {"action": "append", "default": []},
    ),
    *START_OPTIONS,
    Option(
        "runs",
        "keep what the run finishes in FOLDER (default: $TEOLA_RUNS, if that is set), to go on "
        "after a crash: see `teola runs`, `teola resume`",
        "FOLDER",
    ),
    Option(
        "policy",
        f"the order in which engines serve what waits: {', '.join(sorted(POLICIES))}",
        "NAME",
        {"choices": sorted(POLICIES)},
    ),
    Option("tenant", "for whom the run is, to fair policies: vtc, dlpm", "NAME"),
    Option(
        "deadline",
        "the answer is wanted within so many seconds: the policy least_slack goes by it",
        "SECONDS",
        {"type": float},
    ),
    Option("timeout", "give up after so many seconds", "SECONDS", {"type": float}),
    Option(
        "memo",
        "where pure work is remembered: memory (default), disk (teola's cache folder), a FOLDER, "
        "or off; see `teola cache`",
        "WHERE",
    ),
    Option(
        "fusion",
        "how prompts read the KV of joined items that others had elsewhere: auto, a plan like "
        "query(0.15), or exact, which switches it off",
        "PLAN",
    ),
    Option(
        "record",
        "append what the LLM, embedder and reranker answer to FILE, for emulated engines: "
        "emulated:h100/llama-3.1-8b?recording=FILE",
        "FILE",
    ),
    Option(
        "otel",
        "send OpenTelemetry spans to this OTLP receiver, like http://localhost:4318, or env, which "
        "takes OTEL_EXPORTER_OTLP_ENDPOINT",
        "URL",
    ),
    Option(
        "virtual",
        "run at once on a virtual clock, which tells the seconds of emulated engines; tools and "
        "stores count as no time",
    ),
    Option(
        "summary",
        "time, tokens and critical path on stderr at the end (default: yes)",
        None,
        {"action": argparse.BooleanOptionalAction, "default": True},
    ),
    Option("quiet", "no progress and no summary"),
    *COMMON,
)
ABOUT = (
    "Run an app. Its answer goes to stdout, as it is generated where it is text; progress, what "
    "the app prints, and errors go to stderr. A text argument given as - is read from stdin."
)


def run(words: Sequence[str], prog: str) -> None:
    """The whole command; ends the process when anything fails."""
    with reported("--debug" in words or "--run-debug" in words):
        invocation = parse(Command(prog, ABOUT, OPTIONS), words)
        app = configured(invocation)
        with engines_started(app, invocation.options) as urls:
            started = app.using(engines={**app.options.engines, **urls}) if urls else app
            _Run(started, invocation).run(sys.stdout)


def configured(invocation: Invocation) -> Any:
    """The app with the options of the command line over its own."""
    app, options = invocation.app, invocation.options
    changes: dict[str, Any] = {
        "engines": {**app.options.engines, **dict(map(named_engine, options.engine))}
    }
    if options.no_optimize:
        changes["optimize"] = False
    if options.policy is not None:
        changes["policy"] = options.policy
    if options.tenant is not None:
        changes["tenant"] = options.tenant
    if options.deadline is not None:
        changes["deadline_s"] = options.deadline
    if options.timeout is not None:
        changes["timeout_s"] = options.timeout
    if options.trace is not None:
        changes["trace"] = options.trace
    if options.trace_texts:
        if options.trace is None:
            raise UsageError("--trace-texts needs --trace FILE")
        changes["trace_texts"] = True
    if options.record is not None:
        changes["record"] = options.record
    if options.otel is not None:
        changes["otel"] = options.otel
    if options.fusion is not None:
        changes["fusion"] = options.fusion
    if options.runs is not None:
        changes["runs"] = options.runs
    elif os.environ.get("TEOLA_RUNS") and not options.virtual:
        changes["runs"] = True
    if options.memo is not None:
        changes["memo"] = {"memory": True, "off": False}.get(options.memo, options.memo)
    return app.using(**changes)


def run_and_print(invocation: Invocation) -> None:
    """Run an app that is configured already."""
    _Run(invocation.app, invocation).run(sys.stdout)


def named_engine(word: str) -> tuple[str, str]:
    """Reads `NAME=URL`. Raises UsageError."""
    name, _, url = word.partition("=")
    scheme, colon, _ = url.partition(":")
    if not (name and scheme and colon):
        raise UsageError(f"--engine takes NAME=URL, like llm=local:smollm2-135m; got {word!r}")
    return name, url


@dataclass(frozen=True, slots=True)
class _Run:
    app: Any
    invocation: Invocation

    def run(self, out: TextIO) -> None:
        options = self.invocation.options
        console = stderr_console(options.no_color)
        builder = RunBuilder()
        shows = console.is_terminal and not (options.quiet or options.virtual)
        execute = run_app_virtually if options.virtual else run_app
        progress = Progress(console, builder) if shows else None
        screen = Screen(builder, None if options.json else out, progress)
        try:
            with progress or nullcontext(), redirect_stdout(sys.stderr):
                result = execute(self.app, self.invocation.arguments, screen)
        except BaseException as error:
            self._end_line(out, screen)
            if options.json and isinstance(error, Exception):
                print(json_text(report(builder.trace(), None, error)), file=out)
            if screen.stored_as and not isinstance(error, ApprovalPending | EffectInDoubt):
                console.print(self._way_on(screen.stored_as), soft_wrap=True)
            raise
        if options.json:
            print(json_text(report(builder.trace(), result)), file=out)
        else:
            self._print_result(out, screen, result)
        if options.summary and not options.quiet:
            console.print(run_summary(builder.trace()), style="dim", soft_wrap=True)
            if options.virtual:
                console.print("times are those of the virtual clock", style="dim")

    def _print_result(self, out: TextIO, screen: Screen, result: Any) -> None:
        if result is None:  # an app of effects only
            return
        text = as_text(result)
        if text.startswith(screen.streamed):
            print(text.removeprefix(screen.streamed), file=out, flush=True)
        else:  # the app gave back something else than what was streamed
            self._end_line(out, screen)
            print(text, file=out, flush=True)

    def _way_on(self, run_id: str) -> str:
        runs = self.app.options.runs
        folder = f" --runs {shlex.quote(runs)}" if isinstance(runs, str) else ""
        return f"the run is kept: `teola resume {run_id}{folder}` goes on with it"

    def _end_line(self, out: TextIO, screen: Screen) -> None:
        if screen.streamed:
            print(file=out, flush=True)


def report(trace: Trace, result: Any, error: Exception | None = None) -> Mapping[str, Any]:
    """What `--json` prints."""
    usage = asdict(whole_usage(trace))
    status = type(error).__name__ if error else "ok"
    return {
        "app": trace.app,
        "status": status,
        "error": message_of(error) if error else None,
        "result": result,
        "seconds": trace.duration_s,
        "tokens": {
            "prefilled": usage["prefill_tokens"],
            "cached": usage["cached_tokens"],
            "fused": usage["fused_tokens"],
            "wasted": usage["wasted_tokens"],
            "estimated": usage["estimated_tokens"],  # of the wasted ones
            "decoded": usage["decode_tokens"],
        },
        "wasted_s": usage["wasted_s"],
        "remembered_items": usage["remembered_items"],
    }
