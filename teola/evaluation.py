"""`tl.evaluate`: an app on the rows of a dataset, and what metrics say of its outputs."""

import asyncio
import inspect
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from frontend_dsl.app import App
from frontend_dsl.program import Batch, RunOptions
from frontend_dsl.signature import ArgumentError
from runtime.clock import now
from runtime.events import Event, Listener
from teola.batches import progress_bar, run_bounded
from teola.evaluated import EvaluatedRow, Evaluation
from teola.metrics import Metric, fields_of
from teola.trace_file import open_trace
from teola.virtual import beside_loop

Metrics = Sequence[Metric] | Mapping[str, Metric]

CONCURRENCY = 8


def evaluate(
    app: App[..., Any],
    dataset: Iterable[Any] | str | Path,
    metrics: Metrics,
    *,
    arguments: Callable[[Any], Mapping[str, Any]] | None = None,
    concurrency: int = CONCURRENCY,
    progress: bool | None = None,
) -> Evaluation:
    """Run the app on each row, and each metric on the row and the output. Blocks.

    `dataset` is a list of dicts, dataclasses or pydantic models, or the path of a JSONL file. A
    row's fields that are called like the app's parameters are its arguments, or what `arguments`
    makes of the row. A metric is a function (row, output) -> number or bool, which may be `async`;
    `tl.metrics` has some. At most `concurrency` rows run at once. A row that fails keeps its
    error, and so does a metric. Raises ArgumentError for a dataset or metrics that are none.
    """
    run = partial(
        aevaluate,
        app,
        dataset,
        metrics,
        arguments=arguments,
        concurrency=concurrency,
        progress=progress,
    )
    return beside_loop(lambda: asyncio.run(run()))


async def aevaluate(
    app: App[..., Any],
    dataset: Iterable[Any] | str | Path,
    metrics: Metrics,
    *,
    arguments: Callable[[Any], Mapping[str, Any]] | None = None,
    concurrency: int = CONCURRENCY,
    progress: bool | None = None,
) -> Evaluation:
    """`tl.evaluate`, awaited; cancelling the task cancels what runs."""
    if not (hasattr(app, "arun") and hasattr(app, "options")):
        raise ArgumentError(f"tl.evaluate runs a @tl.app, not {app!r}: call it in an app")
    rows, named = _rows_of(dataset), _named(metrics)
    how = Batch(app.name, len(rows), concurrency, progress)
    began_s = now()
    with open_trace(app.options) as writer, progress_bar(how, _has_failed) as done:
        options = replace(app.options, trace=None)
        evaluating = _Evaluating(app, options, named, arguments or _arguments_of(app), writer)
        results = await run_bounded(map(evaluating.row, rows), concurrency, done)
    for result in results:
        if isinstance(result, Exception):  # no outcome of the app's: our mistake, or a user's
            raise result
    return Evaluation(app.name, tuple(named), tuple(results), now() - began_s)


class _Evaluating:
    """One evaluation that runs."""

    def __init__(
        self,
        app: App[..., Any],
        options: RunOptions,
        metrics: Mapping[str, Metric],
        arguments: Callable[[Any], Mapping[str, Any]],
        writer: Listener | None,
    ) -> None:
        self._app, self._metrics, self._arguments = app, metrics, arguments
        self._options = options
        self._writer = writer

    async def row(self, row: Any) -> EvaluatedRow:
        result, began_s = EvaluatedRow(row), now()
        try:
            result.output = await self._run(result)
        except Exception as error:
            result.error = error
        result.seconds = now() - began_s
        if result.error is None:
            for name, metric in self._metrics.items():
                await _score(result, name, metric)
        return result

    async def _run(self, result: EvaluatedRow) -> Any:
        users = [to for to in (self._options.listener, self._writer) if to is not None]

        def listen(event: Event) -> None:
            if event.kind == "end":
                result.count(event.fields)
            for listener in users:
                listener(event)

        app = self._app.using(listener=listen, trace=None)
        return await app.arun(**self._arguments(result.row))


async def _score(result: EvaluatedRow, name: str, metric: Metric) -> None:
    try:
        score = await _value_of(metric, result)
        if not isinstance(score, (bool, int, float)):
            raise TypeError(f"metric {name} gave {score!r}; it must give a number or a bool")
        if math.isnan(score):
            raise ValueError(f"metric {name} gave {score!r}, which has no mean with others")
    except Exception as error:
        result.failures[name] = error
    else:
        result.scores[name] = float(score)


async def _value_of(metric: Metric, result: EvaluatedRow) -> Any:
    """What the metric says. A plain function has a thread: it may run an app, and wait for it."""
    if not inspect.iscoroutinefunction(metric):
        score = await asyncio.to_thread(metric, result.row, result.output)
    else:
        score = metric(result.row, result.output)
    return await score if inspect.isawaitable(score) else score


def _has_failed(result: Any) -> bool:
    return isinstance(result, Exception) or result.error is not None


def _rows_of(dataset: Iterable[Any] | str | Path) -> list[Any]:
    """Raises ArgumentError for a dataset without rows, or with what is no row."""
    rows = _lines_of(Path(dataset)) if isinstance(dataset, (str, Path)) else list(dataset)
    if not rows:
        raise ArgumentError("the dataset of tl.evaluate has no rows")
    for number, row in enumerate(rows, 1):
        try:
            fields_of(row)
        except TypeError as error:
            raise ArgumentError(f"row {number} of the dataset: {error}") from None
    return rows


def _lines_of(path: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ArgumentError(f"{path}:{number} is no JSON: {error}") from None
    return rows


def _named(metrics: Metrics) -> dict[str, Metric]:
    """Raises ArgumentError for what is no metric, and for two of one name."""
    if isinstance(metrics, Mapping):
        named = dict(metrics)
    elif isinstance(metrics, (list, tuple)):
        named = {getattr(metric, "__name__", repr(metric)): metric for metric in metrics}
        if len(named) < len(metrics):
            problem = "two metrics have one name; give them names: metrics={'name': metric}"
            raise ArgumentError(problem)
    else:
        raise ArgumentError(f"metrics of tl.evaluate is a list or a dict of functions: {metrics!r}")
    for name, metric in named.items():
        if not callable(metric):
            raise ArgumentError(f"metric {name} is no function of (row, output): {metric!r}")
    return named


def _arguments_of(app: App[..., Any]) -> Callable[[Any], Mapping[str, Any]]:
    names = {parameter.alias or parameter.name for parameter in app.parameters}
    return lambda row: {name: each for name, each in fields_of(row).items() if name in names}
