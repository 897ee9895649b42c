"""Recorded arrivals of others, from a file: when requests came and how long they were.

Known by their first line, gzipped or not:

    TIMESTAMP,ContextTokens,GeneratedTokens             Azure's 2023 traces
    context_tokens,generated_tokens                     the same without times
    {"timestamp": ms, "input_length": ..., "output_length": ..., "hash_ids": [...]}     Mooncake's

A hash id names 512 tokens of a prompt behind all those before them.
"""

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from backends.errors import ConfigError

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One request."""

    at_s: float | None  # after the first one; None: the trace tells no times
    input_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...] = ()  # of 512 tokens each; (): what prompts share is not known


@cache
def read_trace(path: str) -> Sequence[TraceRow]:
    """The rows by their times. Raises ConfigError for a file that is no such trace."""
    lines = _lines(Path(path).expanduser(), f"trace {path}")
    kept = [(n, line) for n, line in enumerate(lines, 1) if line and not line.startswith("#")]
    if len(kept) < 2:
        raise ConfigError(f"trace {path}: there are no requests in it")
    read = _reader_of(kept[0][1])
    if read is None:
        raise ConfigError(
            f"trace {path}: the first line is none that is known: write "
            "context_tokens,generated_tokens; or JSON lines with timestamp (ms), input_length and "
            "output_length"
        )
    rows: list[TraceRow] = []
    for number, line in kept if read is _mooncake else kept[1:]:
        try:
            rows.append(read(line))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"trace {path}: line {number} is no request: {error!r}") from error
    return tuple(_from_zero(rows))


def _lines(path: Path, where: str) -> Sequence[str]:
    try:
        content = path.read_bytes()
        unpacked = gzip.decompress(content) if content.startswith(_GZIP) else content
        return unpacked.decode("utf-8-sig").splitlines()  # Excel writes a byte order mark
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror or error}") from error
    except (EOFError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} is neither text nor gzipped text") from error


def _reader_of(first: str) -> Callable[[str], TraceRow] | None:
    if first.startswith("{"):
        return _mooncake
    return {
        "TIMESTAMP,ContextTokens,GeneratedTokens": _azure,
        "context_tokens,generated_tokens": _lengths,
    }.get(first)


def _azure(line: str) -> TraceRow:
    when, context, generated = next(csv.reader([line]))
    at_s = datetime.fromisoformat(when[:26]).timestamp()  # seven digits: more than Python reads
    return TraceRow(at_s, int(context), int(generated))


def _lengths(line: str) -> TraceRow:
    context, generated = next(csv.reader([line]))
    return TraceRow(None, int(context), int(generated))


def _mooncake(line: str) -> TraceRow:
    row = json.loads(line)
    ids = tuple(map(int, row.get("hash_ids", ())))
    return TraceRow(row["timestamp"] / 1e3, row["input_length"], row["output_length"], ids)


def _from_zero(rows: Iterable[TraceRow]) -> Iterator[TraceRow]:
    timed = sorted(rows, key=lambda row: row.at_s or 0.0)
    first_s = timed[0].at_s or 0.0
    for row in timed:
        at_s = None if row.at_s is None else row.at_s - first_s
        yield TraceRow(at_s, row.input_tokens, row.output_tokens, row.hash_ids)
