"""Orders by a key that are kept from step to step plan the steps that sorting all would plan."""

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.llm.planner import kept
from backends.llm.planner.policies import NO_TARGET_S, by_priority, level_of
from backends.llm.planner.policy import Order, View
from backends.llm.sequence.sequence import Sequence
from backends.policy.sorted_items import SortedItems

Make = Callable[..., Any]
Key = Callable[[Sequence, float], Any]

QUANTUM_S, PATIENCE_S = 0.05, 0.4
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("ask", "ask", "ask", "step", "step", "cancel", "wait")),
        st.integers(1, 9),
        st.sampled_from((0, 0, 0, 1, -1)),  # priority
    ),
    min_size=5,
    max_size=60,
)


def _arrival(sequence: Sequence, now_s: float) -> Any:
    return not sequence.is_running, sequence.arrival


def _deadline(sequence: Sequence, now_s: float) -> Any:
    wanted_s = sequence.request.itl_s or NO_TARGET_S
    due_s = sequence.service.arrived_s + wanted_s
    return not sequence.is_running, due_s, sequence.arrival


def _level(sequence: Sequence, now_s: float) -> Any:
    is_overdue = now_s - sequence.service.last_s >= PATIENCE_S
    return -1 if is_overdue else level_of(sequence.service, QUANTUM_S), sequence.arrival


KEYS = {"fcfs": _arrival, "slo": _deadline, "mlfq": _level}


def sorting_all(key: Key) -> Order:
    def order(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:
        return sorted(sequences, key=lambda sequence: key(sequence, now_s))

    return by_priority(order, PATIENCE_S)


def steps(driven: Any, events: list[tuple[str, int, int]]) -> list[list[tuple[str, int]]]:
    """The tokens of each step."""
    done: list[list[tuple[str, int]]] = []

    def step() -> None:
        runs = driven.step().runs
        done.append([(run.sequence.request.id, run.num_tokens) for run in runs])

    for event, size, priority in events:
        if event == "ask":
            itl_s = size / 10 if size % 2 else None
            driven.add(4 * size, num_output=size, priority=priority, itl_s=itl_s)
        elif event == "wait":
            driven.clock.now_s += size / 20
        elif event == "cancel" and driven.planner.waiting:
            driven.core.abort(driven.planner.waiting[size % len(driven.planner.waiting)].request.id)
        elif driven.core.has_work:
            step()
    while driven.core.has_work:
        step()
    return done


@pytest.mark.parametrize("name", KEYS)
@settings(max_examples=8, deadline=None)
@given(events=EVENTS)
def test_the_steps_are_those_of_an_order_sorted_anew(
    engine: Make, name: str, events: list[tuple[str, int, int]]
) -> None:
    options = {"quantum_ms": QUANTUM_S * 1e3, "patience_ms": PATIENCE_S * 1e3, "max_running": 3}
    for pages in ({}, {"kv_tokens": 256}):  # with too few sequences lose theirs
        first, anew = (engine(policy=name, **options, **pages) for _ in range(2))
        anew.planner.policy = replace(anew.planner.policy, order=sorting_all(KEYS[name]))
        assert steps(first, events) == steps(anew, events)


@pytest.mark.parametrize("name", KEYS)
def test_a_step_places_no_more_sequences_when_ten_times_as_many_wait(
    engine: Make, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counted(SortedItems[Any]):
        def put(self, item: Any, key: Any) -> None:
            nonlocal num_put
            num_put += 1
            super().put(item, key)

    monkeypatch.setattr(kept, "SortedItems", Counted)
    found = []
    for count in (200, 2000):
        driven = engine(policy=name, max_running=4, patience_ms=10**6)
        for _ in range(count):
            driven.add([driven.num_added % 250] * 4, num_output=100)
        driven.core.step()
        num_put = 0
        for _ in range(32):
            driven.add([driven.num_added % 250] * 4, num_output=100)
            driven.core.step()
        found.append(num_put)
    assert 0 < found[1] < 1.2 * found[0]


def test_nothing_is_kept_of_sequences_that_ended(engine: Make) -> None:
    for name in KEYS:
        driven = engine(policy=name, max_running=2)
        order = kept.KeptByLevel(lambda _: 0, 1.0) if name == "mlfq" else kept.Kept(id)
        driven.planner.policy = replace(driven.planner.policy, order=order)
        for _ in range(5):
            driven.add(4, num_output=3)
        driven.run()
        assert not len(order._line)
