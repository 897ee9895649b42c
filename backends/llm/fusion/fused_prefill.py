"""A prefill with chunks is made of those without: of the prefix, of each chunk behind it.

    prefix P, chunks A and B, question Q      prefill P
                                              prefill P A .      prefill P B .
                                              prefill P [A] [B] Q, where [x] reads KV

What was prefilled before costs nothing: it is in the radix tree. The dot is padding up to the end
of a page, for the tree names whole pages alone.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from collections.abc import Sequence as Items
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from backends.base import Chunk, FusionReport, Outcome, Part, Request, Result, Tokens, Usage, total
from backends.errors import EngineError, RequestRejected, RequestTooLong
from backends.llm.fusion.asked import from_nothing, is_prompt
from backends.llm.fusion.chunk_lengths import ChunkLengths, Encoder
from backends.llm.fusion.link import Encoded, Stage
from backends.llm.fusion.look import Look
from backends.llm.fusion.named_plans import plan_from
from backends.llm.fusion.plans import (
    Arranging,
    Bools,
    Encoding,
    Exact,
    Floats,
    FromRequests,
    Layout,
    Plan,
    encoding_of,
)
from backends.llm.fusion.record import Record, Records
from backends.llm.fusion.stand_in import stand_in
from backends.llm.kv.page_table import PageTable
from backends.llm.sequence.sequence import LLMContext
from backends.served import Served, longest_served, one_after_another

_KEPT_PREFIXES = 64
_NOTHING = Usage()
_USUALLY = Encoding()
_PADDING = 0  # a token of every vocabulary

Execute = Callable[[Request], Awaitable[Outcome]]
# Which of a prompt's chunks a chunk is encoded behind, after the prefix.
Behind = Callable[[str, Items[str]], Items[str]]


class Costs(Encoder, Protocol):
    """A core."""

    @property
    def num_layers(self) -> int: ...

    def prefill_s(self, start: int, end: int) -> float:
        """Seconds to compute tokens [start, end) of a prompt."""


@dataclass(slots=True)
class _Work:
    """Of a request under way."""

    running: set[str] = field(default_factory=set)  # ids of the prefills
    is_aborted: bool = False
    encoding: Encoding = _USUALLY  # of chunks
    made: list[Result] = field(default_factory=list)  # whose contexts are not handed on
    prefix: Usage = _NOTHING
    encoded: list[Usage] = field(default_factory=list)  # of chunks
    num_encoded: int = 0
    records: dict[str, Record] = field(default_factory=dict)  # of chunks from earlier prompts
    looks: list[tuple[Look, Result]] = field(default_factory=list)
    served: dict[str, Served] = field(default_factory=dict)  # by part; of all chunks the longest

    def note(self, name: str, outcome: Outcome) -> None:
        """How a part was served; chunks run side by side."""
        if isinstance(outcome, Result) and outcome.served is not None:
            key = "chunks" if name[:1].isdigit() else name
            longest = longest_served((self.served.get(key), outcome.served))
            self.served[key] = longest or outcome.served


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
        self._behind = behind
        self._lengths = ChunkLengths(page_size)
        self._prefixes: OrderedDict[tuple[Items[Part], str | None], LLMContext] = OrderedDict()
        self._records = Records()
        self._stand_ins: dict[int, tuple[int, ...]] = {}  # by their lengths
        self._live: dict[str, _Work] = {}

    def abort(self, request_id: str) -> bool:
        """Whether it is here."""
        work = self._live.get(request_id)
        if work is None:
            return False
        work.is_aborted = True
        for running in list(work.running):
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
            return _running_already(request)
        request = replace(request, attrs=attrs)
        chunks = [part for part in request.inputs[1:] if isinstance(part, Chunk)]
        if not chunks or isinstance(plan, Exact) or not is_prompt(request):
            return await self._execute(request)  # which refuses what is no prompt
        with self._work(request) as work:
            work.encoding = encoding_of(plan)
            outcome: Outcome = RequestTooLong()
            with suppress(RequestTooLong):  # of a text that stands in for others
                if await self._lengths.fit(chunks, self._costs()):
                    outcome = await self._fused(request, plan)
            if isinstance(outcome, RequestTooLong):  # alone, without what is put around a chunk
                work.prefix = _NOTHING
                outcome = await self._run(request, "", *request.inputs)
        if not isinstance(outcome, Result):
            return outcome
        # What was found of chunks and in looks, the last pass reads: it counts there.
        asides = (*work.encoded, *(result.usage for _, result in work.looks))
        computed = (Usage(prefill_tokens=usage.prefill_tokens) for usage in asides)
        usage = total((work.prefix, *computed, outcome.usage))
        report = self._report(named, len(chunks), work, outcome)
        served = one_after_another(work.served.values()) if work.served else None
        return replace(outcome, usage=usage, fusion=report, served=served)

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
            outcome = await self._encode_all(request)
        if isinstance(outcome, Exception):
            return outcome
        return Result((work.num_encoded,), total((work.prefix, *work.encoded)))

    @contextmanager
    def _work(self, request: Request) -> Iterator[_Work]:
        work = self._live[request.id] = _Work()
        try:
            yield work
        finally:
            del self._live[request.id]
            for result in work.made:
                result.outputs[0].release()

    def _report(self, plan: str, num_chunks: int, work: _Work, last: Result) -> FusionReport:
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

    async def _fused(self, request: Request, plan: Plan) -> Outcome:
        if isinstance(plan, FromRequests):
            return await self._from_requests(request, plan)
        found = await self._encode_all(request)
        if isinstance(found, Exception):
            return found
        prefix, parts = found
        return await self._in_passes(request, prefix, parts, plan)

    async def _from_requests(self, request: Request, plan: FromRequests) -> Outcome:
        """With chunks as they were computed in other prompts; or exact, and recorded."""
        found = await self._behind_prefix(request)
        if isinstance(found, Exception):
            return found
        prefix, parts = found
        texts = list(dict.fromkeys(part for part in parts if isinstance(part, Chunk)))
        work, key = self._live[request.id], _record_key(request, prefix)
        for i, text in enumerate(texts):
            overhead = partial(plan.overhead, before=texts[:i])
            record = self._records.best(key, text, overhead)
            if record is None:
                work.records.clear()
                refusal = await self._record(request, key, prefix, texts, plan)
                return refusal or await self._run(request, "", prefix, *parts)
            work.records[text] = record
        ways = [(text, work.records[text].before) for text in texts]
        encoded = await self._encode_each(request, prefix, ways)
        if isinstance(encoded, Exception):
            return encoded
        return await self._in_passes(request, prefix, _put_in(parts, encoded), plan)

    async def _record(
        self,
        request: Request,
        key: Hashable,
        prefix: LLMContext | None,
        texts: Items[str],
        plan: FromRequests,
    ) -> Exception | None:
        """All computed, one chunk behind the other, and then again for what they attended to; or
        why they could not be."""
        work = self._live[request.id]
        encoded: dict[str, Encoded] = {}
        for i, text in enumerate(texts):  # each begins with what the one before computed
            found = await self._encode_each(request, prefix, [(text, texts[:i])])
            if isinstance(found, Exception):
                return found
            encoded |= found
        chunks = list(encoded.values())
        layout = self._layout(chunks, work)
        (look,) = plan.looks(layout)
        inputs = *_marked(chunks, layout, plan.choose(layout, ())), Tokens((_PADDING,) * 2)
        outcome = await self._run(request, "look", prefix, *inputs, stage=Stage(look))
        if not isinstance(outcome, Result):
            return outcome
        work.made.append(outcome)
        work.looks.append((look, outcome))
        if len(outcome.outputs) > 1:
            own = np.split(outcome.outputs[1], np.cumsum(layout.lengths)[:-1])
            for i, (text, seen) in enumerate(zip(texts, own, strict=True)):
                record = Record.of(tuple(texts[:i]), layout.lengths[:i], seen[:, : i + 1])
                self._records.add(key, text, record)
        return None

    async def _encode_all(
        self, request: Request
    ) -> tuple[LLMContext | None, list[Part | Encoded]] | Exception:
        """The context before the first chunk, and all parts behind it with every chunk encoded; or
        why one could not be."""
        found = await self._behind_prefix(request)
        if isinstance(found, Exception):
            return found
        prefix, parts = found
        encoding, behind = self._live[request.id].encoding, prefix
        if encoding.is_alone:
            request = from_nothing(request)
        if encoding != _USUALLY:
            num_before = 0 if encoding.is_alone else len(request.inputs) - 1 - len(parts)
            other = await self._aside(request, request.inputs[1 : 1 + num_before])
            if isinstance(other, Exception):
                return other
            behind = other
        texts = list(dict.fromkeys(part for part in parts if isinstance(part, Chunk)))
        others = self._behind or _no_others
        ways = [(text, others(text, texts)) for text in texts]
        encoded = await self._encode_each(request, behind, ways)
        return encoded if isinstance(encoded, Exception) else (prefix, _put_in(parts, encoded))

    async def _behind_prefix(
        self, request: Request
    ) -> tuple[LLMContext | None, Items[Part]] | Exception:
        """The context before the first chunk, and the parts from there on."""
        parts = request.inputs[1:]
        first = next(i for i, part in enumerate(parts) if isinstance(part, Chunk))
        prefix = await self._before(request, parts[:first])
        return prefix if isinstance(prefix, Exception) else (prefix, parts[first:])

    async def _encode_each(
        self, request: Request, behind: LLMContext | None, ways: Items[tuple[str, Items[str]]]
    ) -> dict[str, Encoded] | Exception:
        """Chunks behind a context, each with those that stand between."""
        parts_or_errors = await asyncio.gather(
            *(self._encode(request, i, behind, *way) for i, way in enumerate(ways))
        )
        encoded: dict[str, Encoded] = {}
        for (text, _), part in zip(ways, parts_or_errors, strict=True):
            if not isinstance(part, Encoded):
                return part
            encoded[text] = part
        return encoded

    async def _before(self, request: Request, parts: Items[Part]) -> LLMContext | Exception | None:
        """The context of what precedes a chunk, which then begins no prompt."""
        context = await self._prefix(request, parts) if parts else request.inputs[0]
        if isinstance(context, Exception) or (context is not None and context.ids):
            return context
        start_ids = self._costs().start_ids
        return await self._prefix(request, [*parts, Tokens(start_ids)]) if start_ids else context

    async def _aside(self, request: Request, parts: Items[Part]) -> LLMContext | Exception | None:
        """The context that chunks are encoded behind, where it is not that of the prompt."""
        costs, work = self._costs(), self._live[request.id]
        if not work.encoding.num_context:
            return await self._before(request, parts)
        start_ids = () if parts or request.inputs[0] is not None else costs.start_ids
        others = self._stand_in(work.encoding.num_context)
        of_prompt, work.prefix = work.prefix, _NOTHING
        found = await self._prefix(request, [*parts, Tokens((*start_ids, *others))])
        of_prompt, work.prefix = work.prefix, of_prompt
        work.encoded.append(Usage(prefill_tokens=of_prompt.prefill_tokens))
        return found

    def _stand_in(self, num_tokens: int) -> tuple[int, ...]:
        if num_tokens not in self._stand_ins:
            costs = self._costs()
            ids = stand_in(costs.encode, costs.start_ids, num_tokens)
            self._stand_ins[num_tokens] = tuple(ids)
        return self._stand_ins[num_tokens]

    async def _prefix(self, request: Request, before: Items[Part]) -> LLMContext | Exception:
        """The context of what precedes the first chunk. That of a prompt's start is kept: the tree
        would know no tokens behind its last full page."""
        work = self._live[request.id]
        key = (tuple(before), request.attrs.get("cache_salt"))
        is_kept = request.inputs[0] is None and not request.attrs.keys() - {"cache_salt"}
        if is_kept and (kept := self._prefixes.get(key)) is not None:
            self._prefixes.move_to_end(key)
            work.prefix = total((work.prefix, Usage(cached_tokens=max(0, len(kept.ids) - 1))))
            return kept
        outcome = await self._run(request, "prefix", request.inputs[0], *before)
        if not isinstance(outcome, Result):
            return outcome
        prefix: LLMContext = outcome.outputs[0]
        work.prefix = total((work.prefix, outcome.usage))
        if not is_kept:
            work.made.append(outcome)
            return prefix
        self._prefixes[key] = prefix
        if len(self._prefixes) > _KEPT_PREFIXES:
            self._prefixes.popitem(last=False)[1].release()
        return prefix

    def forget(self) -> None:
        """Keep nothing of earlier prompts."""
        self._records.clear()
        while self._prefixes:
            self._prefixes.popitem()[1].release()

    async def _encode(
        self,
        request: Request,
        number: int,
        prefix: LLMContext | None,
        text: str,
        before: Items[str],
    ) -> Encoded | Exception:
        work = self._live[request.id]
        if before:
            outcome = await self._run(request, f"{number}b", prefix, *map(str, before))
            if not isinstance(outcome, Result):
                return outcome
            work.made.append(outcome)
            work.encoded.append(outcome.usage)
            (prefix,) = outcome.outputs
        padding = self._lengths.padding(len(prefix.ids) if prefix is not None else 0, text)
        filling = Tokens((_PADDING,) * padding)
        outcome = await self._run(request, str(number), prefix, text, filling)
        if not isinstance(outcome, Result):
            return outcome
        work.made.append(outcome)
        work.encoded.append(outcome.usage)
        is_new = outcome.usage.prefill_tokens >= padding  # more than what fills no page
        work.num_encoded += bool(text) and is_new
        return self._encoded(prefix, text, outcome.outputs[0], padding)

    async def _in_passes(
        self, request: Request, prefix: LLMContext | None, parts: Items[Part | Encoded], plan: Plan
    ) -> Outcome:
        """The passes of a plan: each takes over the pages of the one before."""
        work = self._live[request.id]
        layout = self._layout(parts, work)
        found: list[Floats] = []
        base: PageTable | None = None
        for look in plan.looks(layout):
            again = plan.choose(layout, found)
            inputs, name = _marked(parts, layout, again), f"look{len(found)}"
            outcome = await self._run(request, name, prefix, *inputs, stage=Stage(look, base))
            if not isinstance(outcome, Result) or len(outcome.outputs) == 1:
                return outcome  # of one output: nothing could be read elsewhere, so it is exact
            context, scores = outcome.outputs
            work.made.append(outcome)
            work.looks.append((look, outcome))
            base = context.table
            found.append(scores)
        if isinstance(plan, Arranging):
            base, parts = None, list(_arranged(parts, plan.order(layout, found)))
            layout = self._layout(parts, work)
        inputs = _marked(parts, layout, plan.choose(layout, found))
        return await self._run(request, "", prefix, *inputs, stage=Stage(None, base))

    def _layout(self, parts: Items[Part | Encoded], work: _Work) -> Layout:
        chunks = [part for part in parts if isinstance(part, Encoded)]
        lengths = tuple(len(chunk.ids) for chunk in chunks)
        texts = tuple(chunk.text for chunk in chunks)
        records = tuple(work.records[text] for text in texts) if work.records else ()
        if records:
            is_exact = tuple(record.before == texts[:i] for i, record in enumerate(records))
        else:
            is_behind_prefix = self._behind is None and work.encoding == _USUALLY
            is_exact = tuple(i == 0 and is_behind_prefix for i in range(len(chunks)))
        return Layout(lengths, is_exact, self._costs().num_layers, texts, records)

    async def _run(
        self, request: Request, name: str, *inputs: Any, stage: Stage | None = None
    ) -> Outcome:
        """Part `name` of the request; the last, without a name, is the request itself."""
        work = self._live[request.id]
        if work.is_aborted:
            return EngineError("the request was aborted")
        part_id = f"{name}.{request.id}" if name else request.id
        work.running.add(part_id)
        try:
            attrs = request.attrs if stage is None else {**request.attrs, "stage": stage}
            part = replace(request, id=part_id, inputs=inputs, attrs=attrs)
            outcome = await self._execute(part)
            work.note(name, outcome)
            return outcome
        except asyncio.CancelledError:
            self._abort(part_id)  # the engine knows no part by the request's id
            raise
        finally:
            work.running.discard(part_id)

    def _encoded(
        self, prefix: LLMContext | None, text: str, context: LLMContext, padding: int
    ) -> Encoded:
        start = len(prefix.ids) if prefix is not None else 0
        end = len(context.ids) - padding
        self._lengths.note(text, end - start)
        return Encoded(tuple(context.ids[start:end]), context.table, start, text)


def _no_others(text: str, texts: Items[str]) -> tuple[str, ...]:  # noqa: ARG001
    return ()


def _record_key(request: Request, prefix: LLMContext | None) -> Hashable:
    """What KV depends on beside a chunk and those before it; also a context's tenant."""
    if prefix is not None:
        return tuple(prefix.ids), prefix.table.namespace
    return (), request.attrs.get("adapter"), request.attrs.get("cache_salt")


def _put_in(parts: Items[Part], encoded: Mapping[str, Encoded]) -> list[Part | Encoded]:
    return [encoded[part] if isinstance(part, Chunk) else part for part in parts]


def _running_already(request: Request) -> RequestRejected:
    return RequestRejected(f"request id {request.id!r} is running already")


def _arranged(parts: Items[Part | Encoded], order: Items[int]) -> Iterator[Part | Encoded]:
    """With those of the chunks alone, in this order, where chunks were."""
    chunks = [part for part in parts if isinstance(part, Encoded)]
    left = iter([chunks[i] for i in order])
    for part in parts:
        if not isinstance(part, Encoded):
            yield part
        elif (chunk := next(left, None)) is not None:
            yield chunk


def _marked(parts: Items[Part | Encoded], layout: Layout, again: Bools) -> Iterator[Part | Encoded]:
    """The parts, chunks with what is computed again of each."""
    is_mask = again.shape == (layout.num_tokens,) and again.dtype == np.bool_
    assert is_mask, f"a plan chose {again.dtype}{again.shape} of {layout.num_tokens} tokens"
    pieces = np.split(again, np.cumsum(layout.lengths)[:-1])
    marks = iter(zip(pieces, layout.is_exact, strict=True))
    for part in parts:
        if isinstance(part, Encoded):
            own, is_exact = next(marks)
            yield replace(part, again=own, is_exact=is_exact)
        else:
            yield part
