"""The passes in order, and running them: each result is verified, each step can be shown.

A pass is a function of a graph; one that wants to know about engines and costs takes `facts` too.
A user's own passes go in like ours: `optimize(graph, passes=(*PASSES, mine))`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import Any, TypeAlias

from graph_opt.errors import GraphError
from graph_opt.facts import NO_FACTS, Facts
from graph_opt.graph import Graph
from graph_opt.passes.coalesce import coalesce
from graph_opt.passes.cull import cull
from graph_opt.passes.deduplicate import deduplicate
from graph_opt.passes.encode_ahead import encode_ahead
from graph_opt.passes.fuse_chunks import fuse_chunks
from graph_opt.passes.fuse_decode import fuse_decode
from graph_opt.passes.order_documents import order_documents
from graph_opt.passes.prefill_ahead import prefill_ahead
from graph_opt.passes.prune_dependencies import prune_dependencies
from graph_opt.passes.share_prefixes import share_prefixes
from graph_opt.passes.split_prefill import split_prefill
from graph_opt.passes.stream_decode import stream_decode
from graph_opt.passes.stream_stages import stream_stages
from graph_opt.passes.warm_up import warm_up

Pass: TypeAlias = "Callable[..., Graph]"  # (graph) or (graph, facts=...) -> graph

PASSES: tuple[Pass, ...] = (
    order_documents,  # while each prompt is whole, with its head
    coalesce,  # early: where there is no KV to control, nothing below has contexts to look at
    share_prefixes,  # before culling, which leaves captures without readers
    cull,  # before pruning: no order is kept for unused nodes
    prune_dependencies,  # the program's order hides what is independent from all that follow
    deduplicate,  # equal contexts become one, so that prompts of one context can be compared
    fuse_chunks,  # before prompts are cut: those of chunks are not, and behind what they share
    encode_ahead,  # while the whole head of a fused prompt still stands in it
    split_prefill,  # needs true ranks, so after pruning, and one context, so after merging
    deduplicate,  # shares the equal heads that the split has made
    warm_up,  # knows by now who shares a head and who waits; what it writes out is pruned next
    prune_dependencies,  # where values were merged, data now keeps what only control kept
    stream_decode,  # streams last: they change how values are read, not what is done
    stream_stages,  # extends the streams of the pass before
    fuse_decode,  # late: what is no prefill any more can neither be cut nor shared
    prefill_ahead,  # last: of prompts as they are sent; a guess is shared with nothing
)


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass did."""

    name: str
    before: Graph
    after: Graph
    added: tuple[str, ...]  # names of nodes, as are the next two
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line for a person: `split_prefill: 1 added (%c1.0), 1 changed (%c1)`."""
        kinds = (("added", self.added), ("removed", self.removed), ("changed", self.changed))
        parts = [f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds if names]
        return f"{self.name}: {', '.join(parts) or 'nothing to do'}"


def optimize(
    graph: Graph,
    passes: Sequence[Pass] = PASSES,
    facts: Facts = NO_FACTS,
    trace: list[PassReport] | None = None,
) -> Graph:
    """The graph after all passes; reports are appended to `trace`.

    `GraphError` names the pass that failed and those that ran before it.
    """
    for index, run in enumerate(passes):
        try:
            result = _run(run, graph, facts)
        except Exception as error:
            ran = ", ".join(map(_pass_name, passes[:index])) or "none"
            message = f"pass {_pass_name(run)} failed (passes before it: {ran}): {error}"
            raise GraphError(message) from error
        if trace is not None:
            trace.append(_report(_pass_name(run), graph, result))
        graph = result
    return graph


def explain_passes(
    graph: Graph, passes: Sequence[Pass] = PASSES, facts: Facts = NO_FACTS
) -> list[PassReport]:
    """What each pass does to the graph, in order."""
    trace: list[PassReport] = []
    optimize(graph, passes, facts, trace)
    return trace


def _run(run: Pass, graph: Graph, facts: Facts) -> Graph:
    result: Any = run(graph, facts=facts) if _wants_facts(run) else run(graph)
    if not isinstance(result, Graph):
        raise TypeError(f"it gave {result!r}; a pass returns a graph")
    return result


@lru_cache(maxsize=256)
def _wants_facts(run: Pass) -> bool:
    return "facts" in signature(run).parameters


def _pass_name(run: Pass) -> str:
    return getattr(run, "__name__", repr(run))


def _report(name: str, before: Graph, after: Graph) -> PassReport:
    old = {node.name: node for node in before.nodes}
    new = {node.name: node for node in after.nodes}
    return PassReport(
        name,
        before,
        after,
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(name for name in new if name in old and new[name] != old[name]),
    )


def _some(names: Sequence[str], limit: int = 4) -> str:
    shown = ", ".join(f"%{name}" for name in names[:limit])
    return shown if len(names) <= limit else f"{shown}, ..."
