"""A prefill with chunks is made of those without: of the prefix, of each chunk behind it.

    prefix P, chunks A and B, question Q      prefill P
                                              prefill P A .      prefill P B .
                                              prefill P [A] [B] Q, where [x] reads KV

What was prefilled before costs nothing: it is in the radix tree. The dot is padding up to the end
of a page, for the tree names whole pages alone.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from backends.base import Chunk, FusionReport, Outcome, Part, Request, Result, Tokens, total
from backends.errors import EngineError, RequestRejected
from backends.llm.fusion.link import Encoded
from backends.llm.fusion.plans import Plan, plan_from
from backends.llm.kv.page_table import PageTable

_KNOWN_LENGTHS = 1 << 14
_PADDING = 0  # a token of every vocabulary

Execute = Callable[[Request], Awaitable[Outcome]]


class Costs(Protocol):
    """A core."""

    @property
    def num_layers(self) -> int: ...

    def prefill_s(self, start: int, end: int) -> float:
        """Seconds to compute tokens [start, end) of a prompt."""


class Prefix(Protocol):
    """A context."""

    ids: list[int]
    table: PageTable


@dataclass(slots=True)
class _Parts:
    """Of a request under way."""

    running: set[str] = field(default_factory=set)  # ids of the prefills
    is_aborted: bool = False


class Fuser:
    """Of one engine: `execute` runs a prefill there and `abort` stops one."""

    def __init__(
        self,
        execute: Execute,
        abort: Callable[[str], None],
        page_size: int,
        costs: Callable[[], Costs],
    ) -> None:
        self._execute = execute
        self._abort = abort
        self._page_size = page_size
        self._costs = costs
        self._lengths: OrderedDict[str, int] = OrderedDict()  # tokens of chunks met before
        self._live: dict[str, _Parts] = {}

    def abort(self, request_id: str) -> bool:
        """Whether it is here."""
        parts = self._live.get(request_id)
        if parts is None:
            return False
        parts.is_aborted = True
        for running in list(parts.running):
            self._abort(running)
        return True

    async def prefill(self, request: Request) -> Outcome:
        """The outcome of a prefill with the attribute `fusion`."""
        attrs = dict(request.attrs)
        named = attrs.pop("fusion")
        try:
            plan = plan_from(named)
        except RequestRejected as error:
            return error
        if request.id in self._live:
            return RequestRejected(f"request id {request.id!r} is running already")
        request = replace(request, attrs=attrs)
        parts = request.inputs[1:]
        first = next((i for i, part in enumerate(parts) if isinstance(part, Chunk)), None)
        if first is None:
            return await self._execute(request)
        self._live[request.id] = _Parts()
        made: list[Result] = []
        try:
            outcome = await self._fused(request, parts[:first], parts[first:], plan, made)
        finally:
            del self._live[request.id]
            for result in made:
                result.outputs[0].release()
        if isinstance(outcome, Result):
            usage = total(result.usage for result in (*made, outcome))
            encodings = made[bool(first) :]
            num_encoded = sum(x.usage.prefill_tokens > self._page_size for x in encodings)
            num_chunks = sum(isinstance(part, Chunk) for part in parts)
            report = self._report(named, num_chunks, num_encoded, outcome)
            return replace(outcome, usage=usage, fusion=report)
        return outcome

    async def encode(self, request: Request) -> Outcome:
        """How many of the chunks were not there; all of them are now."""
        parts = request.inputs[1:]
        first = next((i for i, part in enumerate(parts) if isinstance(part, Chunk)), None)
        if first is None:
            return Result((0,))
        if request.id in self._live:
            return RequestRejected(f"request id {request.id!r} is running already")
        self._live[request.id] = _Parts()
        made: list[Result] = []
        try:
            as_prefill = replace(request, op="prefill")
            outcome = await self._encoded_chunks(as_prefill, parts[:first], parts[first:], made)
        finally:
            del self._live[request.id]
            for result in made:
                result.outputs[0].release()
        if isinstance(outcome, Exception):
            return outcome
        usages = [result.usage for result in made]
        num_new = sum(usage.prefill_tokens > self._page_size for usage in usages[bool(first) :])
        return Result((num_new,), total(usages))

    def _report(self, plan: str, num_chunks: int, num_encoded: int, last: Result) -> FusionReport:
        costs, num_tokens = self._costs(), last.outputs[0].num_tokens
        computed, fused = last.usage.prefill_tokens, last.usage.fused_tokens
        exact_s = costs.prefill_s(num_tokens - computed - fused, num_tokens)
        return FusionReport(
            plan,
            num_chunks,
            num_encoded,
            num_tokens,
            (computed,) * costs.num_layers,
            exact_s - costs.prefill_s(num_tokens - computed, num_tokens),
        )

    async def _fused(
        self,
        request: Request,
        before: Items[Part],
        parts: Items[Part],
        plan: Plan,
        made: list[Result],
    ) -> Outcome:
        """`made` takes the results whose contexts are not handed on."""
        found = await self._encoded_chunks(request, before, parts, made)
        if isinstance(found, Exception):
            return found
        prefix, chunks = found
        encoded = {
            text: self._encoded(prefix, text, context, padding, plan)
            for text, (context, padding) in chunks.items()
        }
        linked = [encoded[part] if isinstance(part, Chunk) else part for part in parts]
        return await self._run(request, "", prefix, *linked)

    async def _encoded_chunks(
        self, request: Request, before: Items[Part], parts: Items[Part], made: list[Result]
    ) -> tuple[Prefix | None, dict[str, tuple[Prefix, int]]] | Exception:
        """The prefix, and behind it each chunk with its padding; or what went wrong."""
        prefix = request.inputs[0]
        if before:
            outcome = await self._run(request, "prefix", prefix, *before)
            if not isinstance(outcome, Result):
                return outcome
            made.append(outcome)
            (prefix,) = outcome.outputs
        texts = list(dict.fromkeys(part for part in parts if isinstance(part, Chunk)))
        paddings = [self._padding(prefix, text) for text in texts]
        outcomes = await asyncio.gather(
            *(
                self._run(request, str(i), prefix, text, Tokens((_PADDING,) * padding))
                for i, (text, padding) in enumerate(zip(texts, paddings, strict=True))
            )
        )
        results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
        made += results
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                return outcome
        contexts = [result.outputs[0] for result in results]
        return prefix, dict(zip(texts, zip(contexts, paddings, strict=True), strict=True))

    async def _run(self, request: Request, name: str, *inputs: Any) -> Outcome:
        """Part `name` of the request; the last, without a name, is the request itself."""
        parts = self._live[request.id]
        if parts.is_aborted:
            return EngineError("the request was aborted")
        part_id = f"{name}.{request.id}" if name else request.id
        parts.running.add(part_id)
        try:
            return await self._execute(replace(request, id=part_id, inputs=inputs))
        except asyncio.CancelledError:
            self._abort(part_id)  # the engine knows no part by the request's id
            raise
        finally:
            parts.running.discard(part_id)

    def _padding(self, prefix: Prefix | None, text: str) -> int:
        """So many tokens that all pages of the chunk are full; at least one, which has no KV."""
        known = self._lengths.get(text)
        if known is None:
            return self._page_size
        num_tokens = (len(prefix.ids) if prefix is not None else 0) + known
        return self._page_size - (num_tokens - 1) % self._page_size

    def _encoded(
        self, prefix: Prefix | None, text: str, context: Prefix, padding: int, plan: Plan
    ) -> Encoded:
        start = len(prefix.ids) if prefix is not None else 0
        end = len(context.ids) - padding
        self._lengths[text] = end - start
        self._lengths.move_to_end(text)
        if len(self._lengths) > _KNOWN_LENGTHS:
            self._lengths.popitem(last=False)
        ids = tuple(context.ids[start:end])
        return Encoded(ids, context.table, start, plan.num_first(len(ids)))
