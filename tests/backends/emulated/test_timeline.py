"""A device's time on the wall clock, here by hand."""

from types import SimpleNamespace

import pytest

from backends.emulated import timeline
from backends.emulated.timeline import CATCH_UP_S, Timeline, WallTimer


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
