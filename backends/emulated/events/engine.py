"""The Engine protocol around `EventCore`: a timer on the loop's clock for each jump.

Made for a virtual clock, on which a jump costs no time; on a wall clock it takes its time.
"""

import asyncio
from collections.abc import Sequence as Items
from dataclasses import replace
from itertools import count
from typing import Any

from backends.base import Capability, EngineInfo, Outcome, Request, Result, Usage
from backends.emulated import made_up
from backends.emulated.events.core import EventCore, Jump
from backends.emulated.events.options import EventOptions
from backends.emulated.events.sayings import Sayings, num_tokens_in, text_of
from backends.emulated.events.sequence import EventContext, Sequence
from backends.emulated.roofline import Roofline
from backends.errors import EngineUnavailable, RequestAborted, RequestRejected, RequestTooLong

CAPABILITIES: frozenset[Capability] = frozenset(
    (
        *("prefill", "generate", "decode_parts", "fork", "structured", "seed", "stream", "abort"),
        *("cached_tokens", "token_ids", "select", "repeatable"),
    )
)
_NOT_OFFERED = ("logprobs", "adapter", "fusion")


class EventLLM:
    """Prompts, decodes and choices in seconds; no tools, grammars, pins or log-probabilities."""

    def __init__(self, url: str, roofline: Roofline, kv_tokens: int, options: EventOptions) -> None:
        longest = min(options.context_len or roofline.shape.max_tokens, roofline.shape.max_tokens)
        self._longest = min(longest, kv_tokens)
        able = CAPABILITIES if options.lengths is None else CAPABILITIES - {"repeatable"}
        self._info = EngineInfo("llm", url, 1, options.max_running, able, self._longest)
        self._page_size = options.page_size
        self._core = EventCore(roofline, options, kv_tokens)
        self._sayings = Sayings(options)
        self._orders = count()
        self._running: dict[str, list[Sequence]] = {}  # by request id
        self._futures: dict[str, asyncio.Future[Outcome]] = {}
        self._dropped: list[Sequence] = []  # at the end of the jump
        self._jump: Jump | None = None
        self._began_s = 0.0
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._busy_s = 0.0
        self._is_started = False

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def page_size(self) -> int:
        """Tokens of a page of the prefix cache."""
        return self._page_size

    @property
    def device_busy_s(self) -> float:
        """Seconds of its device's steps so far."""
        return self._busy_s

    @property
    def num_preemptions(self) -> int:
        return self._core.num_preemptions

    async def start(self) -> None:
        self._is_started = True

    async def execute(self, requests: Items[Request]) -> list[Outcome]:
        """Outcomes in the order of `requests`. Cancelling the caller aborts them all."""
        waiting = [self._enter(request) for request in requests]
        try:
            return [await each if isinstance(each, asyncio.Future) else each for each in waiting]
        except asyncio.CancelledError:
            for request in requests:
                self.abort(request.id)
            raise

    def abort(self, request_id: str) -> None:
        sequences = self._running.pop(request_id, None)
        if sequences is None:
            return
        self._dropped += sequences
        self._disturb()
        prefilled = sum(sequence.num_prefilled for sequence in sequences)
        decoded = sum(sequence.num_generated for sequence in sequences)
        usage = Usage(prefill_tokens=prefilled, decode_tokens=decoded)
        self._settle(request_id, RequestAborted(usage=usage))

    async def close(self) -> None:
        self._is_started = False
        if self._timer is not None:
            self._timer.cancel()
        for request_id in [*self._futures]:
            self._settle(request_id, EngineUnavailable(f"engine {self._info.model} was closed"))
        self._running.clear()

    def context(self, num_tokens: int, keys: tuple[int, ...] = ()) -> EventContext:
        """A prompt by its length and the keys of its pages, without a text."""
        return EventContext("", num_tokens, self._page_size, keys)

    def _enter(self, request: Request) -> "asyncio.Future[Outcome] | Outcome":
        if not self._is_started:
            return EngineUnavailable(f"engine {self._info.model} is not started")
        try:
            sequences = self._sequences(request)
        except (RequestRejected, RequestTooLong) as error:
            return error
        self._running[request.id] = sequences
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._futures[request.id] = future
        for sequence in sequences:
            self._core.add(sequence)
        self._disturb()
        return future

    def _sequences(self, request: Request) -> list[Sequence]:
        if wrong := [name for name in _NOT_OFFERED if request.attrs.get(name) is not None]:
            raise RequestRejected(f"an engine of detail=events has no {wrong[0]}")
        match request.op:
            case "prefill":
                return [self._sequence(request, self._prompt(request.inputs), 0, "")]
            case "decode":
                return self._samples(request, self._prompt(request.inputs))
            case "generate":
                return self._samples(request, self._prompt((None, *request.inputs)))
            case "select":
                context, choices = request.inputs
                prompts = [context.then(text, num_tokens_in(text)) for text in choices]
                return [self._sequence(request, prompt, 0, "") for prompt in prompts]
        raise RequestRejected(f"an engine of detail=events runs no {request.op!r}")

    def _prompt(self, inputs: Items[Any]) -> EventContext:
        context, *parts = inputs
        before = EventContext("", 0, self._page_size) if context is None else context
        text = text_of(parts)
        prompt: EventContext = before.then(text, num_tokens_in(text)) if text else before
        if not prompt.num_tokens:
            raise RequestRejected("the prompt is empty")
        if prompt.num_tokens >= self._longest:
            raise RequestTooLong(
                f"the prompt has {prompt.num_tokens} tokens, and {self._longest} fit with its text"
            )
        return prompt

    def _samples(self, request: Request, prompt: EventContext) -> list[Sequence]:
        room = self._longest - prompt.num_tokens
        most = min(room, request.attrs.get("max_tokens") or room)
        found: list[Sequence] = []
        for number in range(request.attrs.get("n") or 1):
            text, num_tokens = self._sayings.say(request, prompt, number, most)
            found.append(self._sequence(request, prompt, max(1, num_tokens), text))
        return found

    def _sequence(
        self, request: Request, prompt: EventContext, num_wanted: int, text: str
    ) -> Sequence:
        order, now_s = next(self._orders), asyncio.get_running_loop().time()
        return Sequence(request, order, now_s, prompt, num_wanted, text)

    def _disturb(self) -> None:
        """Something came or went: the jump ends with the step that is under way."""
        loop = asyncio.get_running_loop()
        if self._jump is None:
            if self._timer is None:
                self._timer = loop.call_soon(self._begin)
            return
        if self._core.shorten(self._jump, loop.time() - self._began_s):
            assert self._timer is not None, "a jump has a timer"
            self._timer.cancel()
            self._timer = loop.call_at(self._began_s + self._jump.seconds, self._end)

    def _begin(self) -> None:
        dropped, self._dropped = self._dropped, []
        for sequence in dropped:
            self._core.drop(sequence)
        loop = asyncio.get_running_loop()
        self._timer, self._jump, self._began_s = None, self._core.plan(), loop.time()
        if self._jump is not None:
            self._timer = loop.call_at(self._began_s + self._jump.seconds, self._end)

    def _end(self) -> None:
        assert self._jump is not None, "its timer is set by `_begin`"
        idle_s = self._jump.num_steps * self._core.times.between_steps_s
        self._busy_s += self._jump.seconds - idle_s
        first, done = self._core.finish(self._jump)
        self._jump = None
        for sequence in first:
            _emit(sequence, sequence.text[:1])
        for sequence in done:
            if len(sequence.text) > 1:
                _emit(sequence, sequence.text[1:])
            sequences = self._running.get(sequence.request.id, ())
            if sequences and all(each.is_done for each in sequences):
                del self._running[sequence.request.id]
                self._settle(sequence.request.id, self._result(sequences))
        self._timer = asyncio.get_running_loop().call_soon(self._begin)  # after what this led to

    def _settle(self, request_id: str, outcome: Outcome) -> None:
        future = self._futures.pop(request_id, None)
        if future is not None and not future.done():
            future.set_result(outcome)

    def _result(self, sequences: Items[Sequence]) -> Result:
        request = sequences[0].request
        usage = Usage(
            prefill_tokens=sum(each.prompt.num_tokens - each.num_cached for each in sequences),
            cached_tokens=sum(each.num_cached for each in sequences),
            decode_tokens=sum(each.num_wanted for each in sequences),
        )
        if request.op == "prefill":
            return Result((sequences[0].prompt,), usage)
        if request.op == "select":
            return _chosen(request, usage)
        texts = [each.text for each in sequences]
        contexts = [each.prompt.then(each.text, each.num_wanted) for each in sequences]
        both: tuple[Any, Any] = (texts, contexts)
        if (request.attrs.get("n") or 1) == 1:
            both = (texts[0], contexts[0])
        most = request.attrs.get("max_tokens")
        is_cut = most is not None and any(each.num_wanted >= most for each in sequences)
        result = Result(both, usage, "length" if is_cut else "stop")
        return replace(result, outputs=both[:1]) if request.op == "generate" else result


def _emit(sequence: Sequence, text: str) -> None:
    if sequence.request.emit is not None:
        sequence.request.emit(text)


def _chosen(request: Request, usage: Usage) -> Result:
    context, choices = request.inputs
    scores = [made_up.logprob(context.text, choice) for choice in choices]
    if request.attrs.get("score") == "sum":
        scores = [s * num_tokens_in(c) for s, c in zip(scores, choices, strict=True)]
    best = max(range(len(choices)), key=scores.__getitem__)
    chosen = context.then(choices[best], num_tokens_in(choices[best]))
    return Result((choices[best], scores, chosen), usage)
