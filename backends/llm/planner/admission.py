"""What a step takes on: who may start, how many tokens it computes, who loses its pages.

A sequence starts only if the pool can hold it and a reserve.

    pool |### those ahead ###|# its prompt #|.. reserve ..|     starts
    pool |### those ahead ########|# its prompt #|.|            waits

The reserve is a share of the pool, and at least a page for each that runs ahead (vLLM's watermark,
FastServe's block reserve): without it a sequence starts, takes the last pages, is the first to lose
them at the next page boundary, and starts again.

Without a wanted time between tokens a step has Sarathi-Serve's fixed budget (arXiv 2403.02310). The
planner fills it with all decodes first, then with chunks of prompts that have begun, then with new
prompts, so no decode stalls. With one, it is the largest step that meets the tightest target of its
decodes:

    limit = tightest target of those that decode    budget = latency.tokens_within(limit)

Small chunks beside decodes with tight targets, large ones without waiting decodes: AccelGen's
dynamic chunk (arXiv 2503.13737), by the inverse of the latency model. Under policies that know of
queries prompts get the chunk that delays queries least in all (`chunk_size`).
"""

from collections.abc import Hashable, Iterator
from collections.abc import Sequence as Items
from itertools import islice

from backends.llm.planner.chunk_size import chunk_of_least_delay
from backends.llm.planner.policy import Admit, Budget, View
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


MARGIN = 0.9  # of the target: predictions are off by some percent
LEAST = 16  # tokens of prompts a step, whatever the target: they too must get on
WIDEST = 2048  # tokens a step where no target forbids it


def step_budget(itl_s: float | None, may_widen: bool) -> Budget:
    """`itl_s` is for requests that name no target of their own; None: they take any. A step goes
    beyond the engine's `token_budget` only if it `may_widen`, and no decode is delayed too far."""

    def budget(sequences: Items[Sequence], view: View, now_s: float) -> int:  # noqa: ARG001
        sequences = [s for s in islice(sequences, view.max_running) if s.is_running]
        if not may_widen and all(s.request.itl_s is None for s in sequences):
            return view.token_budget
        most = max(view.token_budget, WIDEST) if may_widen else view.token_budget
        decodes = [s for s in sequences if s.is_decoding]
        limit_s = tightest(decodes, itl_s)
        if limit_s is None:
            return view.token_budget if decodes else most
        return _largest(sequences, view, MARGIN * limit_s, most)

    return budget


def least_delay(within: Budget) -> Budget:
    """At most `within`, and of prompts no larger a chunk than delays queries least (`chunk_size`).

    Decodes of a smaller priority than what else runs do not count, nor those of no query: of what
    waits behind them nothing is known."""

    def budget(sequences: Items[Sequence], view: View, now_s: float) -> int:
        most = within(sequences, view, now_s)
        near = list(islice(sequences, view.max_running))
        decodes = [s for s in near if s.is_running and s.is_decoding]
        left = _steps_left(decodes, max((s.request.priority for s in near), default=0))
        if not left:
            return most
        prompts = [s for s in near if not (s.is_running and s.is_decoding)]
        num_keys = sum(len(s.ids) for s in decodes)
        reach = max((_num_known(s) + _num_new(s) // 2 for s in prompts), default=0)

        def step_s(num_tokens: int) -> float:
            keys = num_keys + num_tokens * reach  # that of a prompt's middle, whatever the size
            return view.latency.step_s(len(decodes) + num_tokens, keys)

        waiting = ((_query(s), _num_new(s)) for s in prompts)
        room = max(most - len(decodes), 1)
        return len(decodes) + chunk_of_least_delay(waiting, left, step_s, room)

    return budget


def _steps_left(decodes: Items[Sequence], highest: int) -> dict[Hashable, int]:
    """Of the longest decode of each query."""
    left: dict[Hashable, int] = {}
    for sequence in decodes:
        place, generation = sequence.request.place, sequence.generation
        if place is None or not place.query:
            continue
        if generation is None or sequence.request.priority < highest:
            continue
        num_left = max(1, generation.max_new - sequence.num_output)
        left[place.query] = max(num_left, left.get(place.query, 0))
    return left


def _query(sequence: Sequence) -> Hashable:
    place = sequence.request.place
    return sequence if place is None else place.query or sequence


def _num_new(sequence: Sequence) -> int:
    return sequence.num_to_compute + sequence.table.num_computed - _num_known(sequence)


def _num_known(sequence: Sequence) -> int:
    """Tokens that have KV, or will have it once it runs: what it finds in the tree is more."""
    if sequence.is_running or sequence.parent is None:
        return sequence.table.num_computed
    return sequence.parent.table.num_computed


def _largest(sequences: Items[Sequence], view: View, limit_s: float, most: int) -> int:
    """Tokens of a step that ends within `limit_s`, with all decodes and at least LEAST of prompts,
    and at most `most`."""
    decodes = [s for s in sequences if s.is_decoding]
    num_keys = sum(len(s.ids) for s in decodes)
    context_len = max((s.table.num_computed for s in sequences if not s.is_decoding), default=0)
    fits = view.latency.tokens_within(limit_s, num_keys, context_len)
    return min(max(fits, len(decodes) + LEAST), most)


def tightest(decodes: Items[Sequence], itl_s: float | None) -> float | None:
    """The least time that one of them wants between tokens; None: they take any."""
    named = [s.request.itl_s if s.request.itl_s is not None else itl_s for s in decodes]
    return min((target for target in named if target is not None), default=None)
