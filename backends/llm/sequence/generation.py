"""What a sequence computes besides its prompt: an output, or the scores of a choice."""

from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from backends.base import FinishReason, Sample, TokenLogprob
from backends.llm.requests.inputs import Score
from backends.llm.requests.sampling import Sampling
from backends.llm.sample.grammar import Matcher
from backends.llm.sample.logits_processors import LogitsProcessor
from backends.llm.text.detokenizer import Detokenizer
from backends.llm.text.stop import StopScanner
from backends.tool_calls.stream import TurnStream


@dataclass(slots=True)
class Generation:
    """The state of one output."""

    sampling: Sampling
    max_new: int  # max_tokens, or less where the context or the pool ends before
    stream: int  # where its random numbers start
    detokenizer: Detokenizer
    stops: StopScanner
    logits_processor: LogitsProcessor | None = None  # None: logits stay unchanged
    matcher: Matcher | None = None  # None: no grammar
    turn: TurnStream | None = None  # reads the text, where there are tools
    may_jump: bool = True  # append what the grammar forces without sampling it
    pieces: list[str] = field(default_factory=list)  # of the text
    num_shown: int = 0  # pieces that were emitted
    num_sampled: int = 0  # the end-of-turn token included
    num_forced: int = 0
    num_guessed: int = 0  # tokens computed on a guess
    num_accepted: int = 0  # guesses that were sampled too
    logprobs: list[TokenLogprob] = field(default_factory=list)
    num_told: int = 0  # log-probabilities that were emitted
    finish_reason: FinishReason | None = None  # None: not finished
    stop: str | int | None = None  # the stop string or token that ended it

    @property
    def wants_logits(self) -> bool:
        """Its tokens are not simply the likeliest, or more is to be told of them."""
        is_plain = self.sampling.is_greedy and self.logits_processor is None
        return not is_plain or self.matcher is not None or self.sampling.logprobs is not None

    @property
    def text(self) -> str:
        """As the model wrote it."""
        return "".join(self.pieces)

    @property
    def output(self) -> str:
        """As the caller gets it."""
        return self.text if self.turn is None else self.turn.text

    @property
    def sample(self) -> Sample:
        assert self.finish_reason is not None, "the output has not ended"
        calls = () if self.turn is None else self.turn.calls
        reason = "tool_calls" if calls and self.finish_reason == "stop" else self.finish_reason
        return Sample(reason, self.stop, tuple(self.logprobs), calls)


@dataclass(slots=True)
class Scoring:
    """The log-probabilities found so far of all tokens after the context."""

    num_context: int
    num_top: int | None = None  # likeliest tokens told at each place; None: a choice's, which has
    # scores and no tokens
    logprobs: dict[int, float] = field(default_factory=dict)  # by place in the sequence
    tokens: dict[int, TokenLogprob] = field(default_factory=dict)  # with num_top: the same

    def note(self, first: int, logprobs: Items[float | TokenLogprob]) -> None:
        """Those of the tokens from place `first` on; again after a preemption."""
        for place, found in enumerate(logprobs, first):
            if isinstance(found, TokenLogprob):
                self.tokens[place] = found
            else:
                self.logprobs[place] = found

    @property
    def prompt_logprobs(self) -> tuple[TokenLogprob, ...]:
        """Of all tokens, in order."""
        return tuple(self.tokens[place] for place in sorted(self.tokens))

    def score(self, kind: Score) -> float:
        """The sum of all, or the mean a token."""
        total = sum(self.logprobs.values())
        return total / len(self.logprobs) if kind == "mean" else total
