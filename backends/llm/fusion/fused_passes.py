"""The passes of a plan over encoded chunks: looks at early layers, and the prompt itself."""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import replace

import numpy as np

from backends.base import Outcome, Part, Request, Result
from backends.llm.fusion.fused_work import FusedWork
from backends.llm.fusion.link import Encoded, Stage
from backends.llm.fusion.plans import Arranging, Bools, Floats, Layout, Plan
from backends.llm.kv.page_table import PageTable
from backends.llm.sequence.sequence import LLMContext


async def run_passes(
    work: FusedWork,
    request: Request,
    prefix: LLMContext | None,
    parts: Items[Part | Encoded],
    plan: Plan,
    num_layers: int,
) -> Outcome:
    """Each pass takes over the pages of the one before."""
    layout = chunk_layout(work, parts, num_layers)
    found: list[Floats] = []
    base: PageTable | None = None
    for look in plan.looks(layout):
        again = plan.choose(layout, found)
        inputs, name = marked(parts, layout, again), f"look{len(found)}"
        outcome = await work.run(request, name, prefix, *inputs, stage=Stage(look, base))
        if not isinstance(outcome, Result) or len(outcome.outputs) == 1:
            return outcome  # of one output: nothing could be read elsewhere, so it is exact
        context, scores = outcome.outputs
        work.made.append(outcome)
        work.looks.append((look, outcome))
        base = context.table
        found.append(scores)
    if isinstance(plan, Arranging):
        base, parts = None, list(_arranged(parts, plan.order(layout, found)))
        layout = chunk_layout(work, parts, num_layers)
    inputs = marked(parts, layout, plan.choose(layout, found))
    return await work.run(request, "", prefix, *inputs, stage=Stage(None, base))


def chunk_layout(work: FusedWork, parts: Items[Part | Encoded], num_layers: int) -> Layout:
    """Where the chunks stand, as plans see it."""
    chunks = [part for part in parts if isinstance(part, Encoded)]
    lengths = tuple(len(chunk.ids) for chunk in chunks)
    texts = tuple(chunk.text for chunk in chunks)
    records = tuple(work.records[text] for text in texts) if work.records else ()
    if records:
        is_exact = tuple(record.before == texts[:i] for i, record in enumerate(records))
    else:
        is_exact = tuple(i == 0 and work.is_usual for i in range(len(chunks)))
    return Layout(lengths, is_exact, num_layers, texts, records)


def marked(parts: Items[Part | Encoded], layout: Layout, again: Bools) -> Iterator[Part | Encoded]:
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


def _arranged(parts: Items[Part | Encoded], order: Items[int]) -> Iterator[Part | Encoded]:
    """With those of the chunks alone, in this order, where chunks were."""
    chunks = [part for part in parts if isinstance(part, Encoded)]
    left = iter([chunks[i] for i in order])
    for part in parts:
        if not isinstance(part, Encoded):
            yield part
        elif (chunk := next(left, None)) is not None:
            yield chunk
