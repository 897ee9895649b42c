"""When each primitive waited and ran, drawn on one time axis and grouped by engine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from teola.viewer.formats import count, percent, seconds
from teola.viewer.model import Span, Trace, total_usage

WAITING, RUNNING = "░", "█"
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue")
_MIN_BAR = 20
_QUEUED_FROM_WIDTH = 90  # below, only the bars show it
_MAX_NAME = 32


def waterfall(trace: Trace, width: int, limit: int = 0) -> RenderableType:
    """One bar a primitive, in lines of at most `width`; at most `limit` an engine, 0 for all."""
    layout = _layout(trace, width)
    lines = [layout.head()]
    for number, (engine, spans) in enumerate(_by_engine(trace).items()):
        lines.append(_engine_line(trace, engine, spans))
        shown = _longest(trace, spans, limit)
        colour = _COLOURS[number % len(_COLOURS)]
        lines += [layout.line(span, "red" if span.error else colour) for span in shown]
        if len(shown) < len(spans):
            lines.append(Text(f"  ... {len(spans) - len(shown):,} shorter ones (--all)", "dim"))
    return Group(*lines)


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cells: Mapping[str, str]  # by path

    @property
    def width(self) -> int:
        return max((len(self.title), *map(len, self.cells.values())))

    def cell(self, text: str) -> str:
        return f"  {text:>{self.width}}"


@dataclass(frozen=True, slots=True)
class _Layout:
    trace: Trace
    columns: tuple[_Column, ...]
    name_width: int
    bar_width: int

    def head(self) -> Text:
        axis = "0" + seconds(self.trace.duration_s).rjust(self.bar_width - 1)
        titles = "".join(column.cell(column.title) for column in self.columns)
        return Text(f"{'':{self.name_width}}  {axis}{titles}", "dim", no_wrap=True)

    def line(self, span: Span, colour: str) -> Text:
        line = Text(no_wrap=True)
        line.append(_cut("  " + span.node, self.name_width).ljust(self.name_width) + "  ")
        self.draw_bar(line, span, colour)
        return line.append("".join(column.cell(column.cells[span.node]) for column in self.columns))

    def draw_bar(self, line: Text, span: Span, colour: str) -> None:
        ready, start = self.cell(span.ready_s), self.cell(self.trace.start_of(span))
        end = max(self.cell(self.trace.end_of(span)), start + (span.start_s is not None))
        line.append(" " * ready)
        line.append(WAITING * (start - ready), "dim")
        line.append(RUNNING * (end - start), colour)
        line.append(" " * (self.bar_width - end))

    def cell(self, at_s: float) -> int:
        whole_s = self.trace.duration_s or 1.0
        return min(int(at_s / whole_s * self.bar_width), self.bar_width - 1)


def _layout(trace: Trace, width: int) -> _Layout:
    queued = _Column("queued", {s.node: seconds(trace.queue_s(s)) for s in trace.spans})
    columns = (
        *([queued] if width >= _QUEUED_FROM_WIDTH else []),
        _Column("ran", {s.node: "" if s.start_s is None else _ran(trace, s) for s in trace.spans}),
        _Column("batch", {s.node: str(s.batch_size or "") for s in trace.spans}),
        _Column("work", {s.node: _work(s) for s in trace.spans}),
    )
    left = width - sum(column.width + 2 for column in columns) - 2
    longest = max((len(span.node) + 2 for span in trace.spans), default=0)
    name_width = min(longest, _MAX_NAME, max(left - _MIN_BAR, 12))
    return _Layout(trace, columns, name_width, max(left - name_width, 10))


def _ran(trace: Trace, span: Span) -> str:
    return seconds(trace.run_s(span)) + ("" if span.has_ended else "+")


def _work(span: Span) -> str:
    usage = span.usage
    words = [
        f"{usage.num_items:,} item{'s' * (usage.num_items != 1)}" if usage.num_items else "",
        f"{usage.prefill_tokens:,} prefill" if usage.prefill_tokens else "",
        f"{usage.cached_tokens:,} cached" if usage.cached_tokens else "",
        f"{usage.fused_tokens:,} fused" if usage.fused_tokens else "",
        f"{usage.wasted_tokens:,} wasted" if usage.wasted_tokens else "",
        f"{seconds(usage.wasted_s)} wasted" if usage.wasted_s else "",
        f"{usage.decode_tokens:,} decode" if usage.decode_tokens else "",
        "failed" if span.error else "",
    ]
    return " ".join(filter(None, words))


def _by_engine(trace: Trace) -> dict[str, list[Span]]:
    groups: dict[str, list[Span]] = {}
    for span in trace.spans:
        groups.setdefault(span.engine, []).append(span)
    return groups


def _engine_line(trace: Trace, engine: str, spans: list[Span]) -> Text:
    num_batches = len({span.batch for span in spans if span.batch is not None})
    facts = [
        count(len(spans), "primitive"),
        count(num_batches, "batch", "batches"),
        f"{seconds(_busy_s(trace, spans))} busy",
    ]
    usage = total_usage(spans)
    if usage.cached_tokens:
        prompt_tokens = usage.prefill_tokens + usage.cached_tokens
        facts.append(f"{percent(usage.cached_tokens, prompt_tokens)} of prompt tokens cached")
    return Text.assemble((engine or "?", "bold"), ("  " + ", ".join(facts), "dim"))


def _busy_s(trace: Trace, spans: Iterable[Span]) -> float:
    """Seconds in which at least one of them ran."""
    busy, until = 0.0, 0.0
    for begin, end in sorted((trace.start_of(s), trace.end_of(s)) for s in spans):
        busy += max(0.0, end - max(begin, until))
        until = max(until, end)
    return busy


def _longest(trace: Trace, spans: list[Span], limit: int) -> list[Span]:
    if not limit or len(spans) <= limit:
        return spans
    kept = sorted(spans, key=lambda span: span.ready_s - trace.end_of(span))[:limit]
    return [span for span in spans if span in kept]


def _cut(text: str, width: int) -> str:
    """The text, shortened in the middle, where paths differ least."""
    if len(text) <= width:
        return text
    tail = (width - 1) * 2 // 3
    return text[: width - 1 - tail] + "…" + text[len(text) - tail :]
