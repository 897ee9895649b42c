"""Embedders and rerankers on an emulated device: the passes of the embedded ones, without a model.

A text counts a token for each four characters, as English texts do in a BERT's vocabulary.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np

from backends.base import EngineInfo
from backends.bert.forward_passes import TextRunner
from backends.embedder.runner import EmbedRunner, Vector
from backends.emulated import made_up
from backends.emulated.llm import tell_missing
from backends.emulated.options import EmulatedTextOptions
from backends.emulated.recording import Recording, RecordingStats, read_recording
from backends.emulated.roofline import Roofline
from backends.emulated.timeline import LoopTimer, StepTimer, timer_for
from backends.reranker.runner import RerankRunner, Scores, Scoring
from backends.text_engine import NUM_SLOTS, TextEngine

CHARS_PER_TOKEN = 4
_MARKS = 2  # tokens that BERT puts around a text

T = TypeVar("T")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Piece(Generic[Value]):
    """A text to compute: so many tokens, and what comes out."""

    num_tokens: int
    value: Callable[[], Value]

    def __len__(self) -> int:
        return self.num_tokens


class EmulatedModel(Generic[Value]):
    """Passes take the roofline's time."""

    def __init__(
        self,
        roofline: Roofline,
        budget_tokens: int,
        timer: StepTimer,
        recording: Recording | None,
    ) -> None:
        self.budget_tokens = budget_tokens
        self.recording = recording
        self._roofline = roofline
        self._timer = timer

    def compute(self, texts: Sequence[Piece[Value]]) -> list[Value]:
        """One value a text, in order."""
        began_s = self._timer()
        values = [text.value() for text in texts]
        self._timer.spend(self._roofline.encode_s([len(text) for text in texts]), began_s)
        self._timer.rest()
        return values

    def num_tokens(self, *texts: str) -> int:
        longest = self._roofline.shape.max_tokens
        return min(longest, sum(len(text) // CHARS_PER_TOKEN + _MARKS for text in texts))


class EmulatedEncoder(EmulatedModel[Vector]):
    """Texts to vectors."""

    @property
    def hidden_size(self) -> int:
        """Of recorded vectors, or else the model's."""
        recorded = self.recording.dimensions if self.recording is not None else None
        return recorded or self._roofline.shape.hidden

    def read(self, texts: Sequence[str]) -> list[Piece[Vector]]:
        return [Piece(self.num_tokens(text), partial(self._vector, text)) for text in texts]

    def embed(self, texts: Sequence[Piece[Vector]]) -> Vector:
        """Unit vectors [N, H]."""
        return np.stack(self.compute(texts))

    def _vector(self, text: str) -> Vector:
        found = self.recording.vector(text) if self.recording is not None else None
        return made_up.vector(text, self.hidden_size) if found is None else found


class EmulatedScorer(EmulatedModel[float]):
    """Scores of query and passage, each pair a text."""

    def read(self, query: str, passages: Sequence[str]) -> Scoring[Piece[float], float]:
        pieces = [
            Piece(self.num_tokens(query, passage), partial(self._score, query, passage))
            for passage in passages
        ]
        return Scoring(pieces, _as_scores)

    def _score(self, query: str, passage: str) -> float:
        found = None
        if self.recording is not None:
            found = self.recording.passage_score(query, passage)
        return made_up.score(query, passage) if found is None else found


class EmulatedTextEngine(TextEngine):
    """An embedder or reranker, by the kind of `info`."""

    def __init__(self, info: EngineInfo, roofline: Roofline, options: EmulatedTextOptions) -> None:
        super().__init__(info, self._make_runner)
        self._roofline = roofline
        self._options = options
        self._recording: Recording | None = None
        self._timer: StepTimer | None = None

    @property
    def recording_stats(self) -> RecordingStats:
        """How many texts were in the recording; zeros without one."""
        return self._recording.stats if self._recording is not None else RecordingStats()

    @property
    def device_busy_s(self) -> float:
        """Seconds of its device's passes so far."""
        return self._timer.busy_s if self._timer is not None else 0.0

    async def start(self) -> None:
        if self._timer is None:
            self._timer = timer_for(self._options.device, asyncio.get_running_loop())
        await super().start()

    async def close(self) -> None:
        await super().close()
        tell_missing(self.info.model, self._recording)

    def _make_runner(self) -> TextRunner[Any, Any]:
        options = self._options
        assert self._timer is not None, "start sets it"
        if options.recording is not None and self._recording is None:
            self._recording = read_recording(options.recording)
        made_of = (self._roofline, options.budget_tokens, self._timer, self._recording)
        if self.info.kind == "embedder":
            return EmbedRunner(EmulatedEncoder(*made_of))
        return RerankRunner(EmulatedScorer(*made_of))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if not isinstance(self._timer, LoopTimer):
            return await super()._in_thread(work)
        value = work()
        await self._timer.settle()
        return value


def text_info(kind: Any, url: str, options: EmulatedTextOptions) -> EngineInfo:
    """Known before start."""
    return EngineInfo(
        kind,
        url,
        options.max_batch_items,
        NUM_SLOTS,
        frozenset({"repeatable"}),
        device=options.device,
    )


def _as_scores(values: Sequence[float]) -> Scores:
    return np.array(values, np.float32)
