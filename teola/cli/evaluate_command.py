"""`teola evaluate APP DATA`: an app on the rows of a JSONL file, scored by metrics."""

from collections.abc import Sequence
from pathlib import Path

from backends.errors import ConfigError
from teola import metrics as built_in
from teola.cli.consoles import stdout_console
from teola.cli.failures import FAILED, UsageError, reported
from teola.cli.target import load_app, load_function
from teola.evaluation import evaluate
from teola.metrics import Metric

_BUILT_IN = {
    "exact_match": built_in.exact_match,
    "contains": built_in.contains,
    "f1": built_in.f1,
}


def evaluate_app(
    target: str,
    dataset: Path,
    metrics: Sequence[str],
    engines: Sequence[str],
    concurrency: int,
    as_json: bool,
    csv: Path | None,
    debug: bool,
) -> None:
    """Print the tables, or all of it as JSON. Exit code 1 if no row could be run."""
    with reported(debug):
        app = load_app(target).using(engines=dict(map(_engine, engines)))
        named = {name: _metric(name) for name in metrics}
        found = evaluate(app, dataset, named, concurrency=concurrency)
        if csv is not None:
            found.to_csv(csv)
        if as_json:
            print(found.to_json())
        else:
            stdout_console().print(found)
        if len(found.errors) == len(found.rows):
            raise SystemExit(FAILED)


def _metric(name: str) -> Metric:
    """`f1`, `f1:answer` (which field of the row is right), or `file.py:function`."""
    known, _, field = name.partition(":")
    if known in _BUILT_IN:
        return _BUILT_IN[known](field) if field else _BUILT_IN[known]()
    if ":" not in name:
        raise UsageError(f"no metric {name!r}; there are {', '.join(_BUILT_IN)}, file.py:function")
    return load_function(name)


def _engine(given: str) -> tuple[str, str]:
    name, _, url = given.partition("=")
    if not name or not url:
        raise ConfigError(f"--engine takes NAME=URL, not {given!r}")
    return name, url
