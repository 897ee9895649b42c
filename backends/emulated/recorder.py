"""Writes a recording: what the engines of a run answered, whichever they were.

Each record is a line, written as soon as it is known, so that a run that is killed leaves a file
that can be read and gone on with. Requests and answers are in it as they are; keys of APIs never
are, since no request has one.
"""

import base64
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from backends.base import Request, Result
from backends.documents import Doc
from backends.emulated.recorded_split import split_record
from backends.emulated.recording import (
    HEADER,
    VERSION,
    check_header,
    digest,
    output_attrs,
    text_of,
)
from backends.errors import ConfigError

_log = logging.getLogger("teola.emulated")


class ContextTexts:
    """The prompts of live contexts, as text."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    def prompt(self, inputs: Sequence[Any]) -> str | None:
        """Of a context and the parts after it; None where it was not made under this recorder."""
        context, *parts = inputs
        before = "" if context is None else self._known.get(context)
        return None if before is None else before + text_of(parts)

    def note(self, context: Any, text: str | None) -> None:
        if text is not None:
            with suppress(TypeError):  # one that cannot be referred to weakly
                self._known[context] = text


class Recorder:
    """Appends to one file; call it with each request and its result, on one event loop."""

    def __init__(self, path: str | Path) -> None:
        """Raises ConfigError for a file that cannot be written or is no recording."""
        self._path = Path(path).expanduser()
        self.num_unknown = 0  # requests whose prompt began before the recorder did
        self._contexts = ContextTexts()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._written = _resume(self._path)
            self._file = self._path.open("a", encoding="utf-8", errors="surrogatepass")
        except OSError as error:
            raise ConfigError(f"recording {self._path}: {error.strerror or error}") from error
        if not self._written:
            self._line({HEADER: VERSION})

    def __call__(self, request: Request, result: Result) -> None:
        write = _OPS.get(request.op)
        if write is not None and not self._file.closed:
            write(self, request, result)

    def close(self) -> None:
        """Idempotent; what comes later is not written."""
        if self.num_unknown:
            _log.warning(
                "recording %s lacks %d requests on contexts from before it began",
                self._path,
                self.num_unknown,
            )
            self.num_unknown = 0
        self._file.close()

    def prefill(self, request: Request, result: Result) -> None:
        self._contexts.note(result.outputs[0], self._contexts.prompt(request.inputs))

    def decode(self, request: Request, result: Result) -> None:
        prompt = self._known(self._contexts.prompt(request.inputs))
        if prompt is None:
            return
        texts = _listed(result.outputs[0])
        self._texts(prompt, request.attrs, texts, result)
        for context, text in zip(_listed(*result.outputs[1:2]), texts, strict=False):
            self._contexts.note(context, prompt + text)

    def generate(self, request: Request, result: Result) -> None:
        self._texts(text_of(request.inputs), request.attrs, _listed(result.outputs[0]), result)

    def select(self, request: Request, result: Result) -> None:
        prompt = self._known(self._contexts.prompt(request.inputs[:1]))
        if prompt is None:
            return
        choices, score = list(request.inputs[1]), request.attrs.get("score") or "mean"
        best, scores, context = result.outputs
        record = {"op": "select", "prompt": prompt, "choices": choices, "score": score}
        self._write({**record, "scores": list(scores)})
        self._contexts.note(context, prompt + best)

    def embed(self, request: Request, result: Result) -> None:
        given = request.inputs[0]
        items = [given] if isinstance(given, str | Doc) else given
        for item, row in zip(items, np.atleast_2d(result.outputs[0]), strict=False):
            vector = base64.b64encode(np.asarray(row, np.float32).tobytes()).decode()
            text = item.text if isinstance(item, Doc) else item
            self._write({"op": "embed", "text": text, "vector": vector})

    def call(self, request: Request, _: Result) -> None:
        if (record := split_record(request.inputs)) is not None:
            self._write(record)

    def rerank(self, request: Request, result: Result) -> None:
        scores = [[doc.text, doc.score] for doc in result.outputs[0] if doc.score is not None]
        if scores:
            self._write({"op": "rerank", "query": request.inputs[0], "scores": scores})

    def _known(self, prompt: str | None) -> str | None:
        self.num_unknown += prompt is None
        return prompt

    def _texts(
        self, prompt: str, attrs: Mapping[str, Any], texts: Sequence[str], result: Result
    ) -> None:
        """One record a sample, as a decode of its own would have it."""
        for number, text in enumerate(texts):
            own = dict(attrs)
            if own.get("seed") is not None:
                own["seed"] += number
            samples = result.samples[number : number + 1]
            finish = samples[0].finish_reason if samples else result.finish_reason or "stop"
            record = {"op": "decode", "prompt": prompt, "attrs": output_attrs(own)}
            self._write({**record, "text": text, "finish": finish})

    def _write(self, record: Mapping[str, Any]) -> None:
        key = digest(record)
        if key not in self._written:
            self._written.add(key)
            self._line(record)

    def _line(self, record: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
            self._file.flush()
        except OSError as error:  # the run goes on
            _log.error("recording %s ends here: %s", self._path, error)
            with suppress(OSError):
                self._file.close()


_OPS: dict[str, Callable[[Recorder, Request, Result], None]] = {
    "prefill": Recorder.prefill,
    "decode": Recorder.decode,
    "generate": Recorder.generate,
    "select": Recorder.select,
    "call": Recorder.call,
    "embed": Recorder.embed,
    "rerank": Recorder.rerank,
}


def _resume(path: Path) -> set[str]:
    """Digests of what a file has; a last line that was cut is taken out of it."""
    if not path.exists() or not path.stat().st_size:
        return set()
    with path.open("r+b") as file:
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.split(b"\n")[:-1]  # bytes: texts may hold other line ends of Unicode
        check_header(path, lines[0] if lines else b"")
        file.truncate(len(whole))
    return {"header", *_digests(path, lines[1:])}


def _digests(path: Path, lines: Iterable[bytes]) -> Iterable[str]:
    try:
        return [digest(json.loads(line)) for line in lines]
    except ValueError as error:
        raise ConfigError(f"recording {path} is damaged ({error}): record to a new file") from error


def _listed(value: Any = None) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
