"""Spans of a trace file, for a receiver or for a file of OTLP JSON.

A file gives the same ids each time, so that what is sent twice is there once.
"""

import json
from base64 import b64decode
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator

from backends.errors import EngineUnavailable
from runtime.events import Event
from teola.telemetry.providers import SCOPE, exporter_to
from teola.telemetry.spans import Spans
from teola.viewer.reading import read_events

_AT_ONCE = 512  # spans in one request
_IDS = {"traceId", "spanId", "parentSpanId"}


def export_spans(path: Path, to: str) -> int:
    """Send the spans of a trace file to a receiver (http://...), or write them to a file; how many.

    Raises ValueError, OSError, and EngineUnavailable where the receiver does not take them.
    """
    spans = spans_of_file(path)
    if to == "env" or to.startswith(("http://", "https://")):
        _send(spans, to)
    else:
        Path(to).write_text(otlp_json(spans), encoding="utf-8")
    return len(spans)


def spans_of_file(path: Path) -> Sequence[ReadableSpan]:
    """Those of all its queries."""
    events, _ = read_events(path)
    kept = _Kept()
    resource = Resource.create({"service.name": SCOPE})
    provider = TracerProvider(id_generator=_Ids(path), resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(kept)
    spans = Spans(provider.get_tracer(SCOPE), Context(), _epoch)
    for event in events:
        spans(event)
    spans.close()
    if spans.is_broken:
        raise ValueError(f"{path} is not a trace that this version can read")
    if not kept.spans:
        raise ValueError(f"{path} holds no query; a trace is written by `run-graph --trace FILE`")
    return kept.spans


def otlp_json(spans: Sequence[ReadableSpan]) -> str:
    """One line of JSON a request, as collectors read and write files."""
    requests = (encode_spans(batch) for batch in _batches(spans))
    plain = (MessageToDict(request, use_integers_for_enums=True) for request in requests)
    return "".join(json.dumps(_with_hex_ids(each)) + "\n" for each in plain)


def _send(spans: Sequence[ReadableSpan], to: str) -> None:
    exporter = exporter_to(to)
    for batch in _batches(spans):
        if exporter.export(batch) is not SpanExportResult.SUCCESS:
            raise EngineUnavailable(f"{to} did not take the spans: is a receiver of OTLP there?")
    exporter.shutdown()


def _batches(spans: Sequence[ReadableSpan]) -> Iterator[Sequence[ReadableSpan]]:
    return (spans[start : start + _AT_ONCE] for start in range(0, len(spans), _AT_ONCE))


def _with_hex_ids(value: Any) -> Any:
    """OTLP's JSON has ids in hex, where protobuf's has base64."""
    if isinstance(value, list):
        return [_with_hex_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _hex(item) if name in _IDS else _with_hex_ids(item) for name, item in value.items()
    }


def _hex(text: str) -> str:
    return b64decode(text).hex()


class _Kept(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class _Ids(IdGenerator):
    def __init__(self, path: Path) -> None:
        self._random = Random(sha256(path.read_bytes()).digest())

    def generate_span_id(self) -> int:
        return self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        return self._random.getrandbits(128) or 1


def _epoch(event: Event) -> float:
    began = str(event.fields.get("began", ""))
    return (datetime.fromisoformat(began).timestamp() if began else 0.0) - event.t
