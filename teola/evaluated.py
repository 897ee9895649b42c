"""What an evaluation found: a row each, scores with bootstrap intervals, totals, tables, files."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from teola.viewer.formats import count, seconds

RESAMPLES = 1000  # of the bootstrap
CONFIDENCE = 0.95
_TOKENS = ("prefill_tokens", "cached_tokens", "decode_tokens")


@dataclass(slots=True, eq=False)
class EvaluatedRow:
    """A row of the dataset: the app's output for it, or its error, and what metrics say."""

    row: Any
    output: Any = None
    error: Exception | None = None
    seconds: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)  # of metrics, by their names
    prefill_tokens: int = 0
    cached_tokens: int = 0
    decode_tokens: int = 0

    def count(self, usage: Mapping[str, Any]) -> None:
        """Add what one primitive of the run used."""
        for name in _TOKENS:
            setattr(self, name, getattr(self, name) + usage.get(name, 0))


@dataclass(frozen=True, slots=True)
class Score:
    """The mean of a metric, and where it lies with 95 % confidence (bootstrap over rows)."""

    mean: float
    low: float
    high: float
    num_rows: int


@dataclass(frozen=True)
class Evaluation:
    """All rows in the order of the dataset. `print(evaluation)` shows the tables."""

    app: str
    metrics: tuple[str, ...]
    rows: tuple[EvaluatedRow, ...]
    seconds: float  # of all together

    @property
    def scores(self) -> dict[str, Score]:
        """By metric, over the rows that have a score; a row that failed has none."""
        found = {}
        for name in self.metrics:
            values = [row.scores[name] for row in self.rows if name in row.scores]
            if values:
                found[name] = _score_of(values)
        return found

    @property
    def errors(self) -> list[EvaluatedRow]:
        """The rows for which the app failed."""
        return [row for row in self.rows if row.error is not None]

    @property
    def totals(self) -> dict[str, float]:
        """Tokens of all rows, and latency quantiles of a row in seconds."""
        tokens = {name: sum(getattr(row, name) for row in self.rows) for name in _TOKENS}
        took = sorted(row.seconds for row in self.rows)
        quantiles = {f"p{q}_s": took[min(len(took) - 1, len(took) * q // 100)] for q in (50, 95)}
        return {**tokens, **quantiles}

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can say it."""
        scores = {
            name: {"mean": s.mean, "low": s.low, "high": s.high, "rows": s.num_rows}
            for name, s in self.scores.items()
        }
        head = {"app": self.app, "scores": scores, "errors": len(self.errors)}
        totals = {**self.totals, "seconds": self.seconds}
        return {**head, "totals": totals, "rows": [_as_json(row) for row in self.rows]}

    def to_json(self, path: str | Path | None = None) -> str:
        """The same as text, written to a file if one is named."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    def to_csv(self, path: str | Path | None = None) -> str:
        """The rows as CSV, a column for each field of the dataset and each metric."""
        lines = [_as_line(row, self.metrics) for row in self.rows]
        columns = dict.fromkeys(name for line in lines for name in line)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        if path is not None:
            Path(path).write_text(text.getvalue(), encoding="utf-8")
        return text.getvalue()

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table

        table = Table(title=f"{self.app}: {count(len(self.rows), 'row')}", title_justify="left")
        for title in ("metric", "mean", f"{CONFIDENCE:.0%} interval", "rows", "failed"):
            table.add_column(title, justify="left" if title == "metric" else "right")
        scores = self.scores
        for name in self.metrics:
            failed = sum(name in row.failures for row in self.rows)
            table.add_row(name, *_cells(scores.get(name)), str(failed) if failed else "")
        return Group(table, *self._lines())

    def _lines(self) -> Iterator[str]:
        totals = self.totals
        yield (
            f"{seconds(self.seconds)} in all; a row {seconds(totals['p50_s'])} (median), "
            f"{seconds(totals['p95_s'])} (95th percentile)"
        )
        yield (
            f"tokens: {totals['prefill_tokens']:,} prefilled, {totals['cached_tokens']:,} cached, "
            f"{totals['decode_tokens']:,} decoded"
        )
        if self.errors:
            first = self.errors[0].error
            message, _, _ = str(first).partition("\n")
            failed = count(len(self.errors), "row")
            yield f"{failed} failed, the first by {type(first).__name__}: {message}"

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=100, markup=False, highlight=False).print(self)
        return text.getvalue().rstrip()

    __repr__ = __str__


def _score_of(values: list[float]) -> Score:
    import numpy as np  # late: importing teola loads no numpy

    rng = np.random.default_rng(0)
    sample = np.array(values)
    means = [rng.choice(sample, len(sample)).mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Score(float(sample.mean()), float(low), float(high), len(values))


def _cells(score: Score | None) -> tuple[str, str, str]:
    if score is None:
        return "-", "-", "0"
    return f"{score.mean:.3f}", f"{score.low:.3f} to {score.high:.3f}", str(score.num_rows)


def _as_json(row: EvaluatedRow) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    facts = {
        "row": row.row,
        "output": row.output,
        "error": _message(row.error),
        "scores": row.scores,
        "failures": {name: _message(error) for name, error in row.failures.items()},
        "seconds": row.seconds,
        **{name: getattr(row, name) for name in _TOKENS},
    }
    return dict(to_jsonable_python(facts, fallback=str))


def _as_line(row: EvaluatedRow, metrics: tuple[str, ...]) -> dict[str, Any]:
    facts = _as_json(row)
    fields = facts["row"] if isinstance(facts["row"], dict) else {"row": facts["row"]}
    scores = {name: row.scores.get(name, "") for name in metrics}
    own = {name: facts[name] for name in ("output", "error", "seconds", *_TOKENS)}
    return {name: _cell(value) for name, value in {**fields, **own, **scores}.items()}


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _message(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"
