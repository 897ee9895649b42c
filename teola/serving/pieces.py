"""What comes of one generation: its answers, and their pieces as they are written."""

from collections.abc import Callable
from dataclasses import dataclass

from backends.base import FinishReason, TokenLogprob, ToolCall
from teola.serving.answer_turn import AnswerTurn
from teola.serving.metrics import AnswerMeter


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of one answer, as it comes; with tools also calls, each whole, by their numbers."""

    index: int
    text: str
    calls: tuple[tuple[int, ToolCall], ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()  # of its tokens, where the engine tells them so early


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt whose log-probabilities were asked for."""

    ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]  # of all its tokens but the first


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer."""

    index: int  # over all prompts: prompt * n + number
    text: str
    finish_reason: FinishReason | None
    logprobs: tuple[TokenLogprob, ...] | None = None  # None: not asked for
    token_ids: tuple[int, ...] | None = None  # what a context holds of it; None: not asked for
    stop: str | int | None = None  # the stop string or token that ended it
    calls: tuple[ToolCall, ...] = ()  # of tools
    num_told: int = 0  # log-probabilities that came with its pieces
    prompt: Prompted | None = None  # None: not asked for


OnEvent = Callable[[Piece | Answer], None]


class Pieces:
    """What comes of one answer, told as events."""

    def __init__(
        self, index: int, turn: AnswerTurn | None, meter: AnswerMeter, on_event: OnEvent
    ) -> None:
        self.num_told = 0  # log-probabilities
        self._index = index
        self._turn = turn
        self._meter = meter
        self._on_event = on_event
        self._logprobs: tuple[TokenLogprob, ...] = ()  # of the next piece

    def take(self, text: str) -> None:
        self._meter.piece()
        said, calls = (text, ()) if self._turn is None else self._turn.feed(text)
        if said or calls:
            self.num_told += len(self._logprobs)
            self._on_event(Piece(self._index, said, calls, self._logprobs))
            self._logprobs = ()

    def take_logprobs(self, found: tuple[TokenLogprob, ...]) -> None:
        """Of the text that comes next."""
        self._logprobs += found
