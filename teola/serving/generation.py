"""One HTTP request at the LLM engine: each prompt is computed once, and its `n` answers share its
KV. A single answer is one call, where the engine takes it, which saves a step and a round trip; a
fused prompt is always prefilled first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, runtime_checkable
from uuid import uuid4

from backends.base import (
    Context,
    Engine,
    FinishReason,
    Part,
    Request,
    Result,
    TokenLogprob,
    Tokens,
    ToolCall,
)
from backends.remote.together import all_of
from teola.serving.answer_turn import AnswerTurn
from teola.serving.api_errors import invalid
from teola.serving.metrics import AnswerMeter, Metrics
from teola.serving.served import BY_ARRIVAL, Served, Service, fused
from teola.serving.token_counts import TokenCounts, prompt_counts
from teola.serving.tokenizing import HasTokenizer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of one answer, as it comes; with tools also calls, each whole, by their numbers."""

    index: int
    text: str
    calls: tuple[tuple[int, ToolCall], ...] = ()


@runtime_checkable
class HasIds(Protocol):
    """What a context may offer beside the Context protocol."""

    @property
    def ids(self) -> Sequence[int]:
        """Its tokens."""


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


OnEvent = Callable[[Piece | Answer], None]


class Generation:
    """Runs once. When one of its prompts fails, or it is cancelled, all of it is aborted."""

    def __init__(
        self,
        llm: Served,
        metrics: Metrics,
        prompts: Sequence[Sequence[Part]],
        attrs: Mapping[str, Any] | None,
        *,
        n: int = 1,
        service: Service = BY_ARRIVAL,
        fusion: str | None = None,
        prompt_attrs: Mapping[str, Any] = MappingProxyType({}),
        returns_ids: bool = False,
    ) -> None:
        """`attrs` are the decodes', `prompt_attrs` also the prefills', `fusion` is theirs alone;
        without `attrs` prompts are computed and not answered.

        Raises ApiError for what the engine does not offer.
        """
        asked = {**(attrs or {}), **prompt_attrs}
        llm.check_can(chain.from_iterable(prompts), asked, service, fusion=fusion)
        self._llm = llm
        self._metrics = metrics
        self._prompts = prompts
        self._attrs = None if attrs is None else {**attrs, **prompt_attrs}
        self._returns_ids = returns_ids
        self._prefill_attrs = {**prompt_attrs, **fused(fusion)}
        self._n = n
        self._service = service
        can_join = "decode_parts" in llm.engine.info.capabilities
        self._has_tools = "tools" in prompt_attrs  # whose markup only a prefill writes
        is_alone = n == 1 and attrs is not None and fusion is None
        is_joined = is_alone and can_join and not self._has_tools
        self._tokenizer = _tokenizer_of(llm.engine) if is_joined else None
        self.counts = TokenCounts()  # final when `run` has returned

    @property
    def num_answers(self) -> int:
        return len(self._prompts) * self._n

    async def run(self, on_event: OnEvent) -> list[Answer]:
        """All answers, in order; `on_event` gets their pieces, and each as it ends.

        Raises ApiError when there is no room, or the first exception that the engine gave.
        """
        with self._llm.admission.admitted(self.num_answers):
            found = await all_of(
                self._answer_prompt(p, on_event) for p in range(len(self._prompts))
            )
        return [answer for answers in found for answer in answers]

    async def _answer_prompt(self, prompt: int, on_event: OnEvent) -> list[Answer]:
        meters = [AnswerMeter(self._metrics) for _ in range(self._n)]
        answers: list[Answer] = []
        try:
            if self._tokenizer is not None:
                ids = await self._llm.tokenizing.encode(self._tokenizer, self._prompts[prompt])
                self.counts += TokenCounts(len(ids))
                inputs = (None, Tokens(tuple(ids)))
                answers = [await self._answer(prompt, 0, inputs, len(ids), meters[0], on_event)]
            else:
                answers = await self._fork(prompt, meters, on_event)
        finally:
            for meter in meters:
                meter.end(is_whole=bool(answers))
        return answers

    async def _fork(
        self, prompt: int, meters: Sequence[AnswerMeter], on_event: OnEvent
    ) -> list[Answer]:
        inputs = (None, *self._prompts[prompt])
        prefill = await self._call("prefill", inputs, self._prefill_attrs)
        context: Context = prefill.outputs[0]
        self.counts += prompt_counts(prefill)
        try:
            if self._attrs is None:
                return [self._unanswered(prompt * self._n + k, on_event) for k in range(self._n)]
            return await all_of(
                self._answer(
                    prompt * self._n + k, k, (context,), context.num_tokens, meter, on_event
                )
                for k, meter in enumerate(meters)
            )
        finally:
            context.release()

    async def _answer(
        self,
        index: int,
        number: int,
        inputs: tuple[Any, ...],
        num_prompt: int,
        meter: AnswerMeter,
        on_event: OnEvent,
    ) -> Answer:
        turn = AnswerTurn() if self._has_tools else None

        def emit(text: str) -> None:
            meter.piece()
            said, calls = (text, ()) if turn is None else turn.feed(text)
            if said or calls:
                on_event(Piece(index, said, calls))

        attrs = self._attrs
        assert attrs is not None, "the prompts are not to be answered"
        if number and attrs.get("seed") is not None:
            attrs = {**attrs, "seed": attrs["seed"] + number}  # answers of one prompt differ
        result = await self._call("decode", inputs, attrs, emit)
        text, after = result.outputs
        try:
            token_ids = self._ids_after(after, num_prompt)
        finally:
            after.release()
        sample = result.samples[0] if result.samples else None
        logprobs = sample.logprobs if sample is not None and "logprobs" in attrs else None
        usage = result.usage
        cached = usage.cached_tokens if self._tokenizer is not None else 0  # else the prefill's
        written = usage.decode_tokens + usage.forced_tokens
        self.counts += TokenCounts(0, cached, written)
        stop = sample.stop if sample is not None else None
        calls: tuple[ToolCall, ...] = ()
        if turn is not None:
            if rest := turn.rest(text):
                emit(rest)
            text, calls = turn.content, tuple(turn.calls)
        answer = Answer(index, text, result.finish_reason, logprobs, token_ids, stop, calls)
        on_event(answer)
        return answer

    def _unanswered(self, index: int, on_event: OnEvent) -> Answer:
        answer = Answer(index, "", "length", token_ids=() if self._returns_ids else None)
        on_event(answer)
        return answer

    def _ids_after(self, context: Context, num_prompt: int) -> tuple[int, ...] | None:
        if not self._returns_ids:
            return None
        if not isinstance(context, HasIds):
            message = f"{self._llm.name} does not show token ids"
            raise invalid("return_token_ids", message, "unsupported_parameter")
        return tuple(context.ids[num_prompt:])

    async def _call(
        self,
        op: str,
        inputs: tuple[Any, ...],
        attrs: Mapping[str, Any],
        emit: Callable[[str], None] | None = None,
    ) -> Result:
        service = self._service
        request = Request(
            uuid4().hex,
            op,
            inputs,
            attrs,
            priority=service.priority,
            itl_s=service.itl_s,
            emit=emit,
        )
        result = await self._llm.run(request)
        self._metrics.count(result)
        return result


def _tokenizer_of(engine: Engine) -> HasTokenizer | None:
    return engine if isinstance(engine, HasTokenizer) else None
