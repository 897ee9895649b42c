"""Orders that are kept from step to step plan the steps that sorting all anew would plan."""

from collections.abc import Callable, Hashable
from collections.abc import Sequence as Items
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.llm.planner.lines import Line, Lines, is_guess
from backends.llm.planner.policies import by_priority
from backends.llm.planner.policy import View
from backends.llm.sequence.sequence import Sequence
from backends.place import Left, Place
from backends.policy.base import Policy
from backends.policy.in_order import in_order
from backends.policy.named import POLICIES

Make = Callable[..., Any]

PATIENCE_S = 10_000.0
NAMES = [name for name, policy in POLICIES.items() if not policy.account and name != "fcfs"]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("ask", "ask", "step", "step", "correct", "wait no more", "cancel")),
        st.integers(0, 3),  # query
        st.integers(1, 9),
    ),
    min_size=5,
    max_size=60,
)


class SortedAnew:
    """An `Order` that remembers nothing but the ages of flows."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._since: dict[Hashable, int] = {}

    def __call__(self, sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:
        decode = all(sequence.is_decoding for sequence in sequences)
        if decode and len(sequences) == view.num_running <= view.max_running:
            return sorted(sequences, key=is_guess)
        lines = [Line(s, s.request.place, is_known=True) for s in sequences]
        for line in lines:
            if self._policy.reads_known:
                line.num_known = self._num_known(line.sequence, view)
        since: dict[Hashable, int] = {}
        for line in lines:
            flow = self._policy.flow(line)
            since[flow] = min(since.get(flow, line.order), self._since.get(flow, line.order))
        self._since = since
        found = in_order(self._policy, lines, lambda _: 0.0, since=since)
        ordered = sorted(found, key=lambda line: is_guess(line.sequence))
        return [line.sequence for line in ordered]

    def _num_known(self, sequence: Sequence, view: View) -> int:
        if sequence.is_running:
            return sequence.num_prompt
        return len(view.known_pages(sequence)) * view.cache.pool.page_size


def tokens_of(driven: Any) -> list[tuple[str, int]]:
    return [(run.sequence.request.id, run.num_tokens) for run in driven.step().runs]


def steps(driven: Any, events: list[tuple[str, int, int]]) -> list[list[tuple[str, int]]]:
    """The tokens of each step; a guess is a query of its own, as they are."""
    lefts: dict[str, Left] = {}
    done: list[list[tuple[str, int]]] = []
    for event, number, size in events:
        query = f"q{number}"
        left = lefts.setdefault(query, Left(5.0 * number, is_guess=number == 3))
        if event == "ask":
            sequence = driven.add(4 * size, num_output=size)
            group = "map" if size % 3 == 0 else None
            sequence.request.place = Place(query, 1.0 + size, size % 4, group, left=left)
        elif event == "correct":
            left.work_s = float(size)
        elif event == "wait no more":
            lefts["q3"] = lefts.get("q3", left)
            lefts["q3"].is_guess = False
        elif event == "cancel" and driven.planner.waiting:
            driven.core.abort(driven.planner.waiting[size % len(driven.planner.waiting)].request.id)
        elif driven.core.has_work:
            done.append(tokens_of(driven))
    while driven.core.has_work:
        done.append(tokens_of(driven))
    return done


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=4, deadline=None)
@given(events=EVENTS)
def test_the_steps_are_those_of_an_order_sorted_anew(
    engine: Make, name: str, events: list[tuple[str, int, int]]
) -> None:
    options = {"policy": name, "max_running": 3, "patience_ms": PATIENCE_S * 1e3}
    kept, anew = engine(**options), engine(**options)
    order = by_priority(SortedAnew(replace(POLICIES[name], patience_s=None)), PATIENCE_S)
    anew.planner.policy = replace(anew.planner.policy, order=order)
    assert steps(kept, events) == steps(anew, events)


def test_an_engine_that_is_idle_is_told_of_no_changes(engine: Make) -> None:
    driven, left = engine(policy="application_aware"), Left(1.0)
    driven.add(4, num_output=2).request.place = Place("q", 1.0, left=left)
    driven.step()
    assert len(left._told) == 1
    driven.run()
    driven.add(4, num_output=1)
    driven.run()
    assert not left._told


def test_nothing_stays_of_priorities_that_are_gone(engine: Make) -> None:
    driven, lines = engine(policy="fcfs"), Lines(POLICIES["application_aware"], lambda _: 0.0)
    for number in range(40):
        sequence = driven.add(4, num_output=1, priority=-number)
        lines.add(Line(sequence, Place(f"{number}", 1.0), is_known=True))
        assert [line.sequence for line in lines.head((), 9)] == [sequence]
        lines.remove(sequence)
    assert not lines._ordered
