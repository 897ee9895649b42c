"""Chunks as they were computed in earlier prompts (`FromRequests`), and the records of these."""

from collections.abc import Hashable
from collections.abc import Sequence as Items
from functools import partial

import numpy as np

from backends.base import Chunk, Part, Request, Result, Tokens
from backends.llm.fusion.chunk_encoder import PADDING, ChunkEncoder, put_in
from backends.llm.fusion.fused_passes import chunk_layout, marked
from backends.llm.fusion.fused_work import FusedWork
from backends.llm.fusion.link import Encoded, Stage
from backends.llm.fusion.plans import FromRequests
from backends.llm.fusion.record import Record, Records
from backends.llm.sequence.sequence import LLMContext


class RecordedChunks:
    """Of one engine."""

    def __init__(self, encoder: ChunkEncoder) -> None:
        self._encoder = encoder
        self._records = Records()

    def forget(self) -> None:
        """Keep nothing of earlier prompts."""
        self._records.clear()

    async def parts(
        self, work: FusedWork, request: Request, plan: FromRequests, num_layers: int
    ) -> tuple[LLMContext | None, Items[Part | Encoded]] | Exception:
        """The context before the first chunk, and the parts behind it: with all chunks encoded, or
        where one has no record with none. Then the prompt is computed whole, and recorded."""
        found = await self._encoder.behind_prefix(work, request)
        if isinstance(found, Exception):
            return found
        prefix, parts = found
        texts = list(dict.fromkeys(part for part in parts if isinstance(part, Chunk)))
        key = _record_key(request, prefix)
        for i, text in enumerate(texts):
            overhead = partial(plan.overhead, before=texts[:i])
            record = self._records.best(key, text, overhead)
            if record is None:
                work.records.clear()
                refusal = await self._record(work, request, key, prefix, texts, plan, num_layers)
                return refusal or (prefix, parts)
            work.records[text] = record
        ways = [(text, work.records[text].before) for text in texts]
        encoded = await self._encoder.encode_each(work, request, prefix, ways)
        return encoded if isinstance(encoded, Exception) else (prefix, put_in(parts, encoded))

    async def _record(
        self,
        work: FusedWork,
        request: Request,
        key: Hashable,
        prefix: LLMContext | None,
        texts: Items[str],
        plan: FromRequests,
        num_layers: int,
    ) -> Exception | None:
        """All computed, one chunk behind the other, and then again for what they attended to; or
        why they could not be."""
        encoded: dict[str, Encoded] = {}
        for i, text in enumerate(texts):  # each begins with what the one before computed
            found = await self._encoder.encode_each(work, request, prefix, [(text, texts[:i])])
            if isinstance(found, Exception):
                return found
            encoded |= found
        chunks = list(encoded.values())
        layout = chunk_layout(work, chunks, num_layers)
        (look,) = plan.looks(layout)
        inputs = *marked(chunks, layout, plan.choose(layout, ())), Tokens((PADDING,) * 2)
        outcome = await work.run(request, "look", prefix, *inputs, stage=Stage(look))
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


def _record_key(request: Request, prefix: LLMContext | None) -> Hashable:
    """What KV depends on beside a chunk and those before it; also a context's tenant."""
    if prefix is not None:
        return tuple(prefix.ids), prefix.table.namespace
    return (), request.attrs.get("adapter"), request.attrs.get("cache_salt")
