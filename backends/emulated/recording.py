"""A recorded run: what engines answered, found again by what they were asked.

A file of JSON lines; the first says {"teola_recording": 1}. A request is found by its kind and
op, its whole prompt as text, and the attributes that change the output: so neither the way a prompt
was cut into calls nor the client that sent it matters. In that text a turn is written <|role|>.
Where no record has the same attributes, one of the same prompt is taken.
"""

import base64
import binascii
import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.base import FinishReason, Part, Tokens, Turn
from backends.errors import ConfigError
from backends.llm.requests.sampling import Sampling

VERSION = 1
HEADER = "teola_recording"

_NO_CHANGE = frozenset(("logprobs", "speculate", "n", "cache_salt"))  # of an output's text
_IF_DRAWN = frozenset(("seed", "top_p", "top_k", "min_p"))  # of no effect on greedy decoding
_DEFAULTS = {
    field.name: field.default for field in fields(Sampling) if field.name != "logit_bias"
} | {"tool_choice": "auto"}

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Said:
    """One output of a decode."""

    text: str
    finish: FinishReason = "stop"


@dataclass(slots=True)
class RecordingStats:
    """What was asked of a recording."""

    found: int = 0
    with_other_attrs: int = 0  # the prompt was there, the same attributes were not
    missing: int = 0  # made up instead


def text_of(parts: Iterable[Part]) -> str:
    """A prompt as records have it."""
    return "".join(map(_part_text, parts))


def output_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that change an output, without defaults and in one form."""
    found = {
        name: _plain(name, value)
        for name, value in sorted(attrs.items())
        if value is not None and name not in _NO_CHANGE
    }
    is_greedy = not found.get("temperature")
    return {
        name: value
        for name, value in found.items()
        if value != _DEFAULTS.get(name) and not (is_greedy and name in _IF_DRAWN)
    }


def digest(*about: Any) -> str:
    """Stands for a request."""
    text = json.dumps(about, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Recording:
    """Any thread may ask. Equal requests get the outputs of equal records in turn."""

    def __init__(self, records: Iterable[Mapping[str, Any]], name: str = "") -> None:
        self.name = name
        self.stats = RecordingStats()
        self._said: dict[str, list[Said]] = {}
        self._of_prompt: dict[str, list[Said]] = {}
        self._num_asked: dict[str, int] = {}
        self._scores: dict[str, Any] = {}  # of choices, and of passages
        self._lowest: dict[str, float] = {}  # score of each reranked query
        self._vectors: dict[str, str] = {}
        self.dimensions: int | None = None  # of recorded vectors
        self._lock = threading.Lock()
        for record in records:
            self._add(record)

    def said(self, prompt: str, attrs: Mapping[str, Any]) -> Said | None:
        """An output for a prompt."""
        key, of_prompt = digest("decode", prompt, output_attrs(attrs)), digest("decode", prompt)
        with self._lock:
            exact = self._said.get(key)
            found = exact or self._of_prompt.get(of_prompt)
            self._count(found is not None, exact is not None)
            if found is None:
                return None
            number = self._num_asked[key] = self._num_asked.get(key, -1) + 1
        return found[number % len(found)]

    def choice_scores(self, prompt: str, choices: Iterable[str], score: str) -> list[float] | None:
        return self._scored(digest("select", prompt, list(choices), score))

    def passage_score(self, query: str, passage: str) -> float | None:
        """A passage that was not among the best then stays below them."""
        found: float | None = self._scores.get(digest("rerank", query, passage))
        lowest = self._lowest.get(digest("rerank", query))
        with self._lock:
            self._count(found is not None or lowest is not None)
        return lowest - 1.0 if found is None and lowest is not None else found

    def vector(self, text: str) -> Vector | None:
        found = self._vectors.get(digest("embed", text))
        with self._lock:
            self._count(found is not None)
        return None if found is None else np.frombuffer(base64.b64decode(found), np.float32)

    def _scored(self, key: str) -> list[float] | None:
        found: list[float] | None = self._scores.get(key)
        with self._lock:
            self._count(found is not None)
        return found

    def _count(self, is_found: bool, is_exact: bool = True) -> None:
        self.stats.found += is_found
        self.stats.with_other_attrs += is_found and not is_exact
        self.stats.missing += not is_found

    def _add(self, record: Mapping[str, Any]) -> None:
        match record["op"]:
            case "decode":
                prompt, said = record["prompt"], Said(record["text"], record["finish"])
                key = digest("decode", prompt, record["attrs"])
                for known in (
                    self._said.setdefault(key, []),
                    self._of_prompt.setdefault(digest("decode", prompt), []),
                ):
                    if said not in known:
                        known.append(said)
            case "select":
                key = digest("select", record["prompt"], record["choices"], record["score"])
                self._scores[key] = record["scores"]
            case "embed":
                self._add_vector(record["text"], record["vector"])
            case "rerank":
                self._add_ranking(record["query"], record["scores"])

    def _add_vector(self, text: str, vector: str) -> None:
        dimensions = np.frombuffer(base64.b64decode(vector), np.float32).size
        self.dimensions = self.dimensions or dimensions
        if dimensions != self.dimensions:
            raise ValueError(f"vectors of {self.dimensions} and of {dimensions} numbers")
        self._vectors[digest("embed", text)] = vector

    def _add_ranking(self, query: str, scores: Iterable[tuple[str, float]]) -> None:
        of_query = digest("rerank", query)
        for passage, score in scores:
            self._scores[digest("rerank", query, passage)] = score
            self._lowest[of_query] = min(score, self._lowest.get(of_query, score))


def read_recording(path: str | Path) -> Recording:
    """Raises ConfigError for a file that is missing, of another version, or wrong."""
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file:
            return Recording(_records(path, file), str(path))
    except OSError as error:
        raise ConfigError(f"recording {path}: {error.strerror or error}") from error
    except ConfigError:  # a ValueError too
        raise
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ConfigError(
            f"recording {path} is damaged ({type(error).__name__}: {error}): record the run again"
        ) from error


def check_header(path: Path, line: bytes) -> None:
    """Raises ConfigError for what is no recording, or one of another version."""
    try:
        version = json.loads(line)[HEADER]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is no recording: its first line has no {HEADER!r}") from None
    if version != VERSION:
        raise ConfigError(f"recording {path} has version {version!r}; this teola reads {VERSION}")


def _records(path: Path, lines: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
    rest = iter(lines)
    check_header(path, next(rest, b""))
    for line in rest:
        if line.endswith(b"\n"):  # else its writer was killed within it
            yield json.loads(line)


def _part_text(part: Part) -> str:
    if isinstance(part, Turn):
        return f"<|{part.role}|>"
    if isinstance(part, Tokens):
        return f"<|tokens {','.join(map(str, part.ids))}|>"
    return part


def _plain(name: str, value: Any) -> Any:
    """JSON, in one form for what can be written in several."""
    if name == "schema" and isinstance(value, str):
        return json.loads(value)
    if name == "stop":
        return [value] if isinstance(value, str) else list(value)
    if isinstance(value, Mapping):
        return {str(key): inner for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value
