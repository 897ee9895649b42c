"""What OpenTelemetry spans cost a run: the same small app with them and without, taken in turn.

    python benchmarks/bench_spans.py

The app has ten primitives on engines that answer at once, so that nothing hides the cost. Spans go
through a batch processor to an exporter that drops them.
"""

import json
import statistics
import time
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import teola as tl

ROUNDS, RUNS = 15, 40
llm = tl.LLM("fake:")


class Drop(SpanExporter):
    """Takes spans and does nothing with them."""

    def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002
        return SpanExportResult.SUCCESS


@tl.prompt(llm, max_tokens=16)
def say(question: str) -> str:
    return f"Q: {question}"


@tl.prompt(llm, max_tokens=16)
def sum_up(texts: list[str]) -> str:
    return f"Sum up: {tl.join(texts)}"


@tl.app
def spread(questions: list[str]) -> str:
    return sum_up(tl.map(say, questions))


def seconds_of(app: Any) -> float:
    """Of one run, when it was repeated."""
    began = time.perf_counter()
    for number in range(RUNS):
        app([f"{number} {n}" for n in range(4)])
    return (time.perf_counter() - began) / RUNS


def main() -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Drop(), max_queue_size=100_000))
    plain = spread.using(memo=False)
    apps = {
        "off": plain,
        "listener": plain.using(listener=lambda _: None),
        "spans": plain.using(otel=tl.Otel(provider)),
        "spans with content": plain.using(otel=tl.Otel(provider, content=True)),
    }
    times: dict[str, list[float]] = {name: [] for name in apps}
    for app in apps.values():
        seconds_of(app)
    for _ in range(ROUNDS):
        for name, app in apps.items():
            times[name].append(seconds_of(app))
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, median in medians.items():
        print(f"{name:20} {median * 1e3:7.3f} ms a run, {median / medians['off']:.2f}x")
    ratio = round(medians["spans"] / medians["off"], 3)
    per_span_us = round((medians["spans"] - medians["off"]) / 11 * 1e6, 1)
    print(json.dumps({"ratio": ratio, "us_a_span": per_span_us, "off_ms": medians["off"] * 1e3}))


if __name__ == "__main__":
    main()
