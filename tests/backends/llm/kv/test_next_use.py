"""Contexts by when they are read next: the order, and what it keeps in a pool that overflows."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.llm.kv.idle import IdleTables
from backends.llm.kv.next_use import NextUseOrder, idle_s
from backends.llm.kv.page_table import PageTable


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def idle_tables(clock: Clock) -> IdleTables:
    return IdleTables("next_use", lambda *_: 0.0, clock)


def tables_due(tables: IdleTables, *due_s: float | None) -> list[PageTable]:
    """An idle context each, used one after another; of None nothing is known."""
    made = [PageTable() for _ in due_s]
    for table, due in zip(made, due_s, strict=True):
        tables.add(table)
        if due is not None:
            tables.expect(table, due)
    return made


def order_of(tables: IdleTables, made: list[PageTable]) -> list[int]:
    popped = iter(tables.pop, None)
    return [made.index(table) for table in popped if table is not None]


def test_what_is_read_last_goes_first() -> None:
    tables = idle_tables(Clock())
    made = tables_due(tables, 3.0, 9.0, 1.0)
    assert order_of(tables, made) == [1, 0, 2]


def test_what_nobody_expects_goes_as_in_lru() -> None:
    clock = Clock()
    tables = idle_tables(clock)
    made = [PageTable() for _ in range(4)]
    for number in (0, 1, 2, 3, 0):
        clock.now_s += 1.0
        tables.touch(made[number]) if made[number] in tables else tables.add(made[number])
    assert order_of(tables, made) == [1, 2, 3, 0]


def test_an_expectation_that_has_passed_decays() -> None:
    clock = Clock()
    tables = idle_tables(clock)
    made = tables_due(tables, 2.0, 20.0)
    clock.now_s = 9.0  # the first one is late by seven seconds, the second due in eleven
    assert order_of(tables, made) == [1, 0]
    made = tables_due(tables, 2.0, 20.0)
    clock.now_s = 12.0  # the first one is late by ten, and the second due in eight
    made[0].due_s = 2.0
    tables.expect(made[0], 2.0)
    assert order_of(tables, made) == [0, 1]


def test_an_expectation_may_be_corrected() -> None:
    tables = idle_tables(Clock())
    made = tables_due(tables, 3.0, 9.0)
    tables.expect(made[0], 10.0)
    assert order_of(tables, made) == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-5, 30), st.integers(0, 9))))
def test_each_time_the_idlest_goes(actions: list[tuple[int, int, int]]) -> None:
    clock = Clock()
    order = NextUseOrder(clock)
    made = [PageTable() for _ in range(5)]
    for number, due_s, passed_s in actions:
        clock.now_s += passed_s
        made[number].due_s = clock.now_s + due_s
        order.place(made[number])
        if due_s % 7 == 0:
            here = [table for table in made if table in order]
            popped = order.pop()
            assert popped is not None
            most_s = max(idle_s(table.due_s, clock.now_s) for table in here)
            assert idle_s(popped[0].due_s, clock.now_s) == most_s
            assert popped[0] not in order
            assert len(order) == len(here) - 1


def test_corrections_without_end_take_no_memory() -> None:
    order, table = NextUseOrder(Clock()), PageTable()
    for number in range(10_000):
        table.due_s = 1e6 + number
        order.place(table)
    assert len(order._turns) < 200


def misses(trace: list[int], capacity: int, *, is_told: bool) -> int:
    """Of contexts that are read in the order of the trace, one a second."""
    clock = Clock()
    tables = idle_tables(clock)
    made = {name: PageTable() for name in trace}
    num_misses = 0
    for now, name in enumerate(trace):
        clock.now_s = float(now)
        table = made[name]
        num_misses += table not in tables
        if table not in tables and len(tables) == capacity:
            tables.pop()
        tables.touch(table) if table in tables else tables.add(table)
        rest = trace[now + 1 :]
        if is_told:
            next_s = now + 1 + rest.index(name) if name in rest else 1e6
            tables.expect(table, next_s)
    return num_misses


def fewest_misses(trace: list[int], capacity: int) -> int:
    """Belady's optimum."""
    held: set[int] = set()
    num_misses = 0
    for now, name in enumerate(trace):
        if name not in held:
            num_misses += 1
            if len(held) == capacity:
                rest = trace[now:]
                held.remove(max(held, key=lambda n: rest.index(n) if n in rest else len(trace)))
            held.add(name)
    return num_misses


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=40), st.integers(1, 5))
def test_told_the_truth_it_is_beladys_optimum(trace: list[int], capacity: int) -> None:
    assert misses(trace, capacity, is_told=True) == fewest_misses(trace, capacity)


def test_in_turn_lru_loses_all_and_this_keeps_what_fits() -> None:
    trace = [0, 1, 2, 3] * 10
    assert misses(trace, 3, is_told=False) == 40
    assert misses(trace, 3, is_told=True) == 16


def test_the_engine_keeps_the_context_that_is_read_soonest(tiny: Any) -> None:
    driver = tiny.driver(kv_tokens=128, stops=False, page_size=8, eviction="next_use")
    soon, later = driver.prefill(None, "a" * 40), driver.prefill(None, "b" * 40)
    driver.core.expect(soon, 1.0)
    driver.core.expect(later, 60.0)
    driver.core.expect("of another engine", 1.0)
    driver.prefill(None, "z" * 60).release()
    assert soon.table.num_computed == 39
    assert later.table.num_computed < 39
    driver.core.check_integrity()


def test_a_released_context_may_be_told_of(tiny: Any) -> None:
    driver = tiny.driver(kv_tokens=128, stops=False, page_size=8, eviction="next_use")
    context = driver.prefill(None, "a" * 40)
    context.release()
    driver.core.pins.free_released()
    driver.core.expect(context, 1.0)
    driver.core.check_integrity()


def test_a_context_loses_its_last_pages_and_keeps_the_others(tiny: Any) -> None:
    driver = tiny.driver(kv_tokens=256, stops=False, page_size=8, eviction="next_use")
    soon, later = driver.prefill(None, "a" * 100), driver.prefill(None, "b" * 100)
    driver.core.expect(soon, 1.0)
    driver.core.expect(later, 60.0)
    driver.prefill(None, "z" * 60).release()
    assert soon.table.num_computed == 99
    assert 0 < later.table.num_computed < 99
    driver.core.check_integrity()
    again = driver.prefill(later, "c")
    assert again.num_tokens == 101
    driver.core.check_integrity()
