"""A prefill with chunks is made of those without: of the prefix, of each chunk behind it.

    prefix P, chunks A and B, question Q      prefill P
                                              prefill P A .      prefill P B .
                                              prefill P [A] [B] Q, where [x] reads KV

What was prefilled before costs nothing: it is in the radix tree. The dot is padding up to the end
of a page, for the tree names whole pages alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Protocol

import numpy as np

from backends.base import Chunk, FusionReport, Outcome, Request, Result, Usage, total
from backends.errors import RequestRejected, RequestTooLong
from backends.llm.fusion.asked import is_prompt
from backends.llm.fusion.chunk_encoder import Behind, ChunkEncoder
from backends.llm.fusion.chunk_lengths import Encoder
from backends.llm.fusion.fused_passes import run_passes
from backends.llm.fusion.fused_work import NOTHING, Execute, FusedWork
from backends.llm.fusion.link import Encoded
from backends.llm.fusion.named_plans import plan_from
from backends.llm.fusion.plans import Exact, FromRequests, Plan, encoding_of
from backends.llm.fusion.recorded_chunks import RecordedChunks


class Costs(Encoder, Protocol):
    """A core."""

    @property
    def num_layers(self) -> int: ...

    def prefill_s(self, start: int, end: int) -> float:
        """Seconds to compute tokens [start, end) of a prompt."""


class Fuser:
    """Of one engine: `execute` runs a prefill there and `abort` stops one."""

    def __init__(
        self,
        execute: Execute,
        abort: Callable[[str], None],
        page_size: int,
        costs: Callable[[], Costs],
        behind: Behind | None = None,
    ) -> None:
        """`behind`: not the prefix alone, for comparison."""
        self._execute = execute
        self._abort = abort
        self._costs = costs
        self._is_behind_prefix = behind is None
        self._encoder = ChunkEncoder(page_size, costs, behind)
        self._recorded = RecordedChunks(self._encoder)
        self._live: dict[str, FusedWork] = {}

    def abort(self, request_id: str) -> bool:
        """Whether it is here."""
        work = self._live.get(request_id)
        if work is not None:
            work.abort()
        return work is not None

    def forget(self) -> None:
        """Keep nothing of earlier prompts."""
        self._recorded.forget()
        self._encoder.forget()

    async def prefill(self, request: Request) -> Outcome:
        """The outcome of a prefill with the attribute `fusion`."""
        attrs = dict(request.attrs)
        named = attrs.pop("fusion")
        try:
            plan = plan_from(named)
        except RequestRejected as error:
            return error
        if request.id in self._live:
            return _running_already(request)
        request = replace(request, attrs=attrs)
        chunks = [part for part in request.inputs[1:] if isinstance(part, Chunk)]
        if not chunks or isinstance(plan, Exact) or not is_prompt(request):
            return await self._execute(request)  # which refuses what is no prompt
        with self._work(request) as work:
            work.encoding = encoding_of(plan)
            outcome: Outcome = RequestTooLong()
            with suppress(RequestTooLong):  # of a text that stands in for others
                if await self._encoder.fit(chunks):
                    outcome = await self._fused(work, request, plan)
            if isinstance(outcome, RequestTooLong):  # alone, without what is put around a chunk
                work.prefix = NOTHING
                outcome = await work.run(request, "", *request.inputs)
        if not isinstance(outcome, Result):
            return outcome
        # What was found of chunks and in looks, the last pass reads: it counts there.
        asides = (*work.encoded, *(result.usage for _, result in work.looks))
        computed = (Usage(prefill_tokens=usage.prefill_tokens) for usage in asides)
        usage = total((work.prefix, *computed, outcome.usage))
        report = self._report(named, len(chunks), work, outcome)
        return replace(outcome, usage=usage, fusion=report, served=work.served)

    async def encode(self, request: Request) -> Outcome:
        """How many of the chunks were not there; all of them are now."""
        attrs = dict(request.attrs)
        try:
            encoding = encoding_of(plan_from(attrs.pop("fusion", "reuse")))
        except RequestRejected as error:
            return error
        if request.id in self._live:
            return _running_already(request)
        request = replace(request, op="prefill", attrs=attrs)
        if not is_prompt(request):
            return await self._execute(request)
        if not any(isinstance(part, Chunk) for part in request.inputs):
            return Result((0,))
        with self._work(request) as work:
            work.encoding = encoding
            outcome = await self._encoder.encode_all(work, request)
        if isinstance(outcome, Exception):
            return outcome
        return Result((work.num_encoded,), total((work.prefix, *work.encoded)))

    @contextmanager
    def _work(self, request: Request) -> Iterator[FusedWork]:
        work = FusedWork(self._execute, self._abort, self._is_behind_prefix)
        self._live[request.id] = work
        try:
            yield work
        finally:
            del self._live[request.id]
            work.release()

    async def _fused(self, work: FusedWork, request: Request, plan: Plan) -> Outcome:
        num_layers = self._costs().num_layers
        if isinstance(plan, FromRequests):
            found = await self._recorded.parts(work, request, plan, num_layers)
        else:
            found = await self._encoder.encode_all(work, request)
        if isinstance(found, Exception):
            return found
        prefix, parts = found
        if not any(isinstance(part, Encoded) for part in parts):
            return await work.run(request, "", prefix, *parts)
        return await run_passes(work, request, prefix, parts, plan, num_layers)

    def _report(self, plan: str, num_chunks: int, work: FusedWork, last: Result) -> FusionReport:
        costs, num_tokens = self._costs(), last.outputs[0].num_tokens
        computed, fused = last.usage.prefill_tokens, last.usage.fused_tokens
        rows = np.full(costs.num_layers, computed)
        spent_s = costs.prefill_s(num_tokens - computed, num_tokens)
        for look, result in work.looks:
            seen = result.usage.prefill_tokens
            rows[: look.stop_layer + 1] += seen
            share = look.stop_layer / costs.num_layers
            spent_s += share * costs.prefill_s(num_tokens - seen, num_tokens)
        exact_s = costs.prefill_s(num_tokens - computed - fused, num_tokens)
        return FusionReport(
            plan, num_chunks, work.num_encoded, num_tokens, tuple(rows.tolist()), exact_s - spent_s
        )


def _running_already(request: Request) -> RequestRejected:
    return RequestRejected(f"request id {request.id!r} is running already")
