"""A device's time: on the wall clock, here by hand, and on a virtual one."""

import asyncio
from types import SimpleNamespace

import pytest

from backends.emulated import timeline
from backends.emulated.timeline import CATCH_UP_S, LoopTimer, Timeline, WallTimer
from runtime.clock import now, run_virtual


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now_s=100.0)

    def sleep(seconds: float) -> None:
        clock.now_s += seconds

    monkeypatch.setattr(
        timeline, "time", SimpleNamespace(perf_counter=lambda: clock.now_s, sleep=sleep)
    )
    return clock


def test_the_python_between_two_steps_is_part_of_them(clock: SimpleNamespace) -> None:
    timer = WallTimer(Timeline())
    timer.spend(0.1)
    clock.now_s += 0.02
    timer.spend(0.1)
    assert clock.now_s == pytest.approx(100.2)


def test_what_a_busy_machine_is_late_is_made_up_for_in_part(clock: SimpleNamespace) -> None:
    timer = WallTimer(Timeline())
    timer.spend(0.1)
    clock.now_s += 5.0
    timer.spend(0.1)
    assert clock.now_s == pytest.approx(105.2 - CATCH_UP_S)


def test_nothing_is_made_up_for_after_a_rest(clock: SimpleNamespace) -> None:
    timer = WallTimer(Timeline())
    timer.spend(0.1)
    timer.rest()
    clock.now_s += 0.02
    timer.spend(0.1)
    assert clock.now_s == pytest.approx(100.22)


def test_steps_on_one_device_take_turns(clock: SimpleNamespace) -> None:
    device = Timeline()
    device.place(clock.now_s, 3.0)
    WallTimer(device).spend(0.1)
    assert clock.now_s == pytest.approx(103.1)


def test_what_an_engine_takes_before_a_step_passes_while_the_device_is_free(
    clock: SimpleNamespace,
) -> None:
    device = Timeline()
    one, other = WallTimer(device), WallTimer(device)
    one.spend(0.1, after_s=0.01)
    clock.now_s += 0.004  # of Python, which is part of it
    one.spend(0.1, after_s=0.01)
    assert clock.now_s == pytest.approx(100.22)
    other.spend(0.1)
    assert clock.now_s == pytest.approx(100.32)
    assert device.busy_s == pytest.approx(0.3)


def test_it_passes_on_a_virtual_clock_too() -> None:
    async def steps() -> tuple[float, float]:
        timer = LoopTimer(Timeline(), asyncio.get_running_loop())
        began_s = now()
        for _ in range(3):
            timer.spend(0.1, after_s=0.01)
            await timer.settle()
        return now() - began_s, timer.busy_s

    assert run_virtual(steps()) == (pytest.approx(0.33), pytest.approx(0.3))
