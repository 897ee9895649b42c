"""One HTTP request at the LLM engine: each prompt is computed once, and its `n` answers share its
KV. A single answer is one call, where the engine takes it, which saves a step and a round trip; a
fused prompt is always prefilled first."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import uuid4

from backends.base import Context, Engine, Part, Request, Result, Tokens, ToolCall
from backends.remote.together import all_of
from backends.served import Served as ServedSteps
from backends.served import longest_served
from teola.serving.answer_turn import AnswerTurn
from teola.serving.api_errors import invalid
from teola.serving.kept_contexts import HasIds, Keeping
from teola.serving.metrics import AnswerMeter, Metrics
from teola.serving.pieces import Answer, OnEvent, Pieces, Prompted
from teola.serving.place_fields import told_to
from teola.serving.served import BY_ARRIVAL, Served, Service, fused
from teola.serving.token_counts import TokenCounts, prompt_counts
from teola.serving.tokenizing import HasTokenizer

T = TypeVar("T")


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
        form_field: str = "",
        prompt_attrs: Mapping[str, Any] = MappingProxyType({}),
        returns_ids: bool = False,
        prompt_logprobs: int | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        """`attrs` are the decodes', `prompt_attrs` also the prefills'; `fusion` and
        `prompt_logprobs` are theirs alone. Without `attrs` prompts are computed and not answered.

        Raises ApiError for what the engine does not offer.
        """
        asked = {**(attrs or {}), **prompt_attrs}
        parts = chain.from_iterable(prompts)
        llm.check_can(parts, asked, service, fusion=fusion, form_field=form_field)
        self._llm = llm
        self._metrics = metrics
        self._prompts = prompts
        self._attrs = None if attrs is None else {**attrs, **prompt_attrs}
        self._returns_ids = returns_ids
        own = {} if prompt_logprobs is None else {"logprobs": prompt_logprobs}
        self._tells_prompt = prompt_logprobs is not None
        self._prefill_attrs = {**prompt_attrs, **fused(fusion), **own}
        self._n = n
        self._service = service
        self._keeping = keeping
        self._num_of_head = 0  # tokens that were computed for it
        can_join = "decode_parts" in llm.engine.info.capabilities
        self._has_tools = "tools" in prompt_attrs  # whose markup only a prefill writes
        is_alone = n == 1 and attrs is not None and fusion is None and prompt_logprobs is None
        is_joined = is_alone and can_join and not self._has_tools
        self._tokenizer = _tokenizer_of(llm.engine) if is_joined else None
        self.counts = TokenCounts()  # final when `run` has returned
        self._served: dict[str, ServedSteps] = {}  # by op, of several that ran side by side the
        # longest

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
        self.counts = replace(self.counts, served=tuple(self._served.values()))
        return [answer for answers in found for answer in answers]

    async def _answer_prompt(self, prompt: int, on_event: OnEvent) -> list[Answer]:
        meters = [AnswerMeter(self._metrics) for _ in range(self._n)]
        answers: list[Answer] = []
        try:
            if self._tokenizer is not None:
                ids = await self._llm.tokenizing.encode(self._tokenizer, self._prompts[prompt])
                self.counts += TokenCounts(len(ids))
                inputs = await self._behind_kept(ids)
                answers = [await self._answer(prompt, 0, inputs, len(ids), meters[0], on_event)]
            else:
                answers = await self._fork(prompt, meters, on_event)
        finally:
            for meter in meters:
                meter.end(is_whole=bool(answers))
        return answers

    async def _behind_kept(self, ids: Sequence[int]) -> tuple[Any, ...]:
        """The inputs of a decode, which goes on from what is kept of its prompt."""
        before = None if self._keeping is None else self._keeping.read(ids)
        num_known = before.num_tokens if before is not None else 0
        if self._keeping is not None and (head := self._keeping.head(num_known, len(ids))):
            new = Tokens(tuple(ids[num_known : head.num_tokens]))
            prefill = await self._call("prefill", (before, new), self._prefill_attrs)
            self._num_of_head = prefill.usage.prefill_tokens
            before, num_known = prefill.outputs[0], head.num_tokens
            self._keeping.keep_head(head, prefill.outputs[0])
        rest = (Tokens(tuple(ids[num_known:])),) if num_known < len(ids) else ()
        return (before, *rest)

    def _num_cached(self, result: Result, num_prompt: int) -> int:
        """Of a prompt that came with its decode."""
        if self._keeping is None:
            return result.usage.cached_tokens
        return max(0, num_prompt - self._num_of_head - result.usage.prefill_tokens)

    def _leave(self, context: Context) -> None:
        if self._keeping is None:
            context.release()
        else:
            self._keeping.leave(context)

    async def _fork(
        self, prompt: int, meters: Sequence[AnswerMeter], on_event: OnEvent
    ) -> list[Answer]:
        inputs = (None, *self._prompts[prompt])
        prefill = await self._call("prefill", inputs, self._prefill_attrs)
        context: Context = prefill.outputs[0]
        self.counts += prompt_counts(prefill)
        is_left = self._attrs is None
        try:
            told = self._told(prefill)
            if is_left:
                indices = range(prompt * self._n, (prompt + 1) * self._n)
                return [self._unanswered(index, told, on_event) for index in indices]
            answers = await all_of(
                self._answer(
                    prompt * self._n + k, k, (context,), context.num_tokens, meter, on_event
                )
                for k, meter in enumerate(meters)
            )
            return [replace(answer, prompt=told) for answer in answers]
        finally:
            self._leave(context) if is_left else context.release()

    def _told(self, prefill: Result) -> Prompted | None:
        if not self._tells_prompt:
            return None
        context = self._shown(prefill.outputs[0], "echo")
        return Prompted(tuple(context.ids), prefill.prompt_logprobs)

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
        pieces = Pieces(index, turn, meter, on_event)

        attrs = self._attrs
        assert attrs is not None, "the prompts are not to be answered"
        if number and attrs.get("seed") is not None:
            attrs = {**attrs, "seed": attrs["seed"] + number}  # answers of one prompt differ
        result = await self._call("decode", inputs, attrs, pieces)
        text, after = result.outputs
        try:
            token_ids = self._ids_after(after, num_prompt)
        finally:
            self._leave(after) if self._tokenizer is not None else after.release()
        sample = result.samples[0] if result.samples else None
        logprobs = sample.logprobs if sample is not None and "logprobs" in attrs else None
        usage = result.usage
        is_joined = self._tokenizer is not None  # else the prefill's
        cached = self._num_cached(result, num_prompt) if is_joined else 0
        written = usage.decode_tokens + usage.forced_tokens
        self.counts += TokenCounts(0, cached, written)
        stop = sample.stop if sample is not None else None
        calls: tuple[ToolCall, ...] = ()
        if turn is not None:
            if rest := turn.rest(text):
                pieces.take(rest)
            text, calls = turn.content, tuple(turn.calls)
        answer = Answer(
            index, text, result.finish_reason, logprobs, token_ids, stop, calls, pieces.num_told
        )
        on_event(answer)
        return answer

    def _unanswered(self, index: int, prompt: Prompted | None, on_event: OnEvent) -> Answer:
        ids = () if self._returns_ids else None
        answer = Answer(index, "", "length", token_ids=ids, prompt=prompt)
        on_event(answer)
        return answer

    def _ids_after(self, context: Context, num_prompt: int) -> tuple[int, ...] | None:
        if not self._returns_ids:
            return None
        return tuple(self._shown(context, "return_token_ids").ids[num_prompt:])

    def _shown(self, context: Context, field: str) -> HasIds:
        if not isinstance(context, HasIds):
            message = f"{self._llm.name} does not show token ids"
            raise invalid(field, message, "unsupported_parameter")
        return context

    async def _call(
        self,
        op: str,
        inputs: tuple[Any, ...],
        attrs: Mapping[str, Any],
        pieces: Pieces | None = None,
    ) -> Result:
        service = self._service
        request = Request(
            uuid4().hex,
            op,
            inputs,
            attrs,
            priority=service.priority,
            place=service.place,
            itl_s=service.itl_s,
            is_heard=service.is_heard,
            emit=None if pieces is None else pieces.take,
            emit_logprobs=None if pieces is None else pieces.take_logprobs,
        )
        result = await self._llm.run(request)
        self._metrics.count(result)
        if result.served is not None and service.is_heard:
            told = told_to(service.client, result.served)
            self._served[op] = longest_served((self._served.get(op), told)) or told
        return result


def _tokenizer_of(engine: Engine) -> HasTokenizer | None:
    return engine if isinstance(engine, HasTokenizer) else None
