"""An output as it grows from a server's tokens: its text, where it ends, what the context keeps.

The rules are those of the embedded engine (`backends.llm.sequence.output`), so that a chat of
several turns has the same tokens on both: the end of turn stays out of the context, and so do a
stop token and a stop string with all that follows it.
"""

from collections.abc import Callable, Sequence

from backends.base import FinishReason, FusionReport, Sample, TokenLogprob
from backends.errors import EngineError
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.sequence.tool_decoding import ToolDecoding
from backends.llm.text.stop import StopScanner, cut_at_text
from backends.remote.token_mode.call import Call, Delta, TokenScore
from backends.served import Served

Emit = Callable[[str], None]


class Output:
    """Give it what comes to `take`, until that returns True."""

    def __init__(self, prompts: PromptEncoder, call: Call, emit: Emit | None = None) -> None:
        self._tokenizer = prompts.tokenizer
        self._call = call
        self._stop_ids = frozenset(call.stop_ids)
        self._emit = emit
        tools = call.tools or ToolDecoding(prompts.tokenizer)
        self._detokenizer = tools.detokenizer()
        self.turn = tools.turn()
        self._stops = StopScanner(call.sampling.stop)
        self._is_given_text = False  # the server itself cut text and tokens
        self._pieces: list[str] = []
        self._ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._num_seen = 0  # tokens
        self._num_decoded: int | None = None  # as the server says
        self.num_cached: int | None = None
        self.num_fused = 0
        self.fusion: FusionReport | None = None
        self.served: Served | None = None
        self._finish: FinishReason | None = None
        self._stop: str | int | None = None

    @property
    def is_over(self) -> bool:
        return self._finish is not None

    @property
    def text(self) -> str:
        """As the model wrote it."""
        return "".join(self._pieces)

    @property
    def output(self) -> str:
        """As the caller gets it."""
        return self.text if self.turn is None else self.turn.text

    @property
    def num_decoded(self) -> int:
        """Tokens sampled, the end of turn included."""
        return self._num_seen if self._num_decoded is None else self._num_decoded

    @property
    def sample(self) -> Sample:
        assert self._finish is not None, "the output has not ended"
        calls = () if self.turn is None else self.turn.calls
        finish = "tool_calls" if calls and self._finish == "stop" else self._finish
        return Sample(finish, self._stop, tuple(self._logprobs), calls)

    @property
    def ids(self) -> list[int]:
        """What a context holds after it."""
        if self._stops.found is None or self._is_given_text:
            return self._ids
        kept = cut_at_text(self._ids, self.text, self._tokenizer)
        return self._ids[: kept.num_same] + kept.rest

    def take(self, delta: Delta) -> bool:
        """True when the output has ended, which may be before the server ends it."""
        if delta.num_cached is not None:
            self.num_cached = delta.num_cached
        if delta.num_decoded is not None:
            self._num_decoded = delta.num_decoded
        if delta.fusion is not None:
            self.num_fused, self.fusion = delta.num_fused, delta.fusion
        self.served = delta.served or self.served
        num_shown = len(self._pieces)
        if delta.text is None:
            self._take_tokens(delta)
        else:
            self._take_text(delta.text, delta)
        if self._finish is None and delta.finish is not None:
            self._end(delta)
        new = self._read("".join(self._pieces[num_shown:]))
        if self._emit is not None and new:
            self._emit(new)
        return self.is_over

    def _read(self, new: str) -> str:
        """What is shown of new text: with tools, more of the canonical turn."""
        if self.turn is None:
            return new
        return self.turn.feed(new) + (self.turn.finish() if self.is_over else "")

    def _take_text(self, text: str, delta: Delta) -> None:
        self._is_given_text = True
        if self._call.tools is not None and self._call.tools.has_markers:
            text = "".join(map(self._detokenizer.push, delta.ids))
        if text:
            self._pieces.append(text)
        self._ids += delta.ids
        self._num_seen += len(delta.ids)
        self._logprobs += map(self._logprob, delta.scores)

    def _take_tokens(self, delta: Delta) -> None:
        scores: Sequence[TokenScore | None] = delta.scores or [None] * len(delta.ids)
        if len(scores) != len(delta.ids):
            raise EngineError(
                f"the server sent {len(delta.ids)} tokens with {len(scores)} log-probabilities"
            )
        for token, score in zip(delta.ids, scores, strict=True):
            if self._finish is not None:
                return
            self._num_seen += 1
            if score is not None:
                self._logprobs.append(self._logprob(score))
            self._take_token(token)

    def _take_token(self, token: int) -> None:
        if token in self._stop_ids:
            self._stop = token if token in self._call.sampling.stop_token_ids else None
            self._finish_with("stop")
            return
        self._ids.append(token)
        piece = self._detokenizer.push(token)
        if len(self._ids) > self._call.sampling.min_tokens:
            piece = self._stops.push(piece)
        if piece:
            self._pieces.append(piece)
        if self._stops.is_stopped:
            self._finish_with("stop")
        elif len(self._ids) >= self._call.max_new:
            self._finish_with("length")

    def _end(self, delta: Delta) -> None:
        """The server ended it, for a reason that the tokens do not show."""
        if self._is_given_text:
            self._finish, self._stop = delta.finish, delta.stop
            return
        if delta.finish == "stop" and self._ids and self._ids[-1] in self._tokenizer.special_ids:
            self._ids.pop()  # an end of turn by the server's own settings
        assert delta.finish is not None, "checked by the caller"
        self._finish_with(delta.finish)
        self._stop = delta.stop if self._stop is None else self._stop

    def _finish_with(self, finish: FinishReason) -> None:
        """Characters that never became whole, and what might have begun a stop string."""
        last = (self._stops.push(self._detokenizer.flush()), self._stops.flush())
        self._pieces += [piece for piece in last if piece]
        self._finish = finish
        if self._stops.found is not None:
            self._finish, self._stop = "stop", self._stops.found

    def _logprob(self, score: TokenScore) -> TokenLogprob:
        bytes_of = self._tokenizer.bytes_of
        top = tuple(TokenLogprob(token, bytes_of(token), value) for token, value in score.top)
        return TokenLogprob(score.id, bytes_of(score.id), score.logprob, top)
