"""Who may start, and who loses its pages when there are none left.

A sequence starts only if the pool can hold it and a reserve.

    pool |### those ahead ###|# its prompt #|.. reserve ..|     starts
    pool |### those ahead ########|# its prompt #|.|            waits

The reserve is a share of the pool, and at least a page for each that runs ahead (vLLM's watermark,
FastServe's block reserve): without it a sequence starts, takes the last pages, is the first to lose
them at the next page boundary, and starts again.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Items

from backends.llm.planner.policy import Admit, View
from backends.llm.sequence.sequence import Sequence


def watermark(share: float) -> Admit:
    """Running sequences take part. A waiting one starts if its prompt fits beside all ahead of it;
    the first that does not fit stops those behind it. Pages behind it in line count as free."""

    def admit(sequences: Items[Sequence], view: View, now_s: float) -> Iterator[Sequence]:  # noqa: ARG001
        held: set[int] = set()  # pages of all ahead
        ahead: list[Sequence] = []  # those whose pages are not in `held` yet
        num_ahead = num_promised = 0  # promised: new pages for those started ahead
        is_blocked = False
        for sequence in sequences:
            if sequence.is_running:
                ahead.append(sequence)
                num_ahead += 1
                yield sequence
                continue
            if is_blocked:
                continue
            held.update(page for s in ahead for page in view.held_pages(s))
            ahead.clear()
            known, num_new = view.wanted_pages(sequence)
            num_pages = len(held.union(known)) + num_promised + num_new
            reserve = max(num_ahead, share * view.cache.pool.num_pages)
            if num_ahead and num_pages + reserve > view.cache.pool.num_pages:
                is_blocked = True
                continue
            held.update(known)
            num_promised += num_new
            num_ahead += 1
            yield sequence

    return admit


def last_first(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:  # noqa: ARG001
    """Victims: the order turned around: the newest of the least priority, the lowest level."""
    return sequences[::-1]
