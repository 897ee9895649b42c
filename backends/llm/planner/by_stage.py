"""First come, first served, but requests without a prompt to compute precede those with one.

Otherwise a query that prefills and decodes in two requests waits twice: its decode is queued
behind the prompts of all queries that arrived since. Sarathi-Serve's order (arXiv 2403.02310) of
decodes, begun prompts and new prompts, for decodes that are requests of their own.
"""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import View
from backends.llm.sequence.sequence import Sequence


def by_stage(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:  # noqa: ARG001
    """What runs, then waiting decodes whose context is computed, then the rest."""
    if not view.has_free_slot:
        return sequences
    running, waiting = sequences[: view.num_running], sequences[view.num_running :]
    return [*running, *sorted(waiting, key=lambda s: not _is_computed(s))]


def _is_computed(sequence: Sequence) -> bool:
    known = sequence.parent.table.num_computed if sequence.parent is not None else 0
    return sequence.generation is not None and sequence.num_to_prefill <= known
