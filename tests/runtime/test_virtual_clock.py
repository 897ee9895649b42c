"""The virtual clock: timers pass at once, and work for threads is done on the loop."""

import asyncio
import threading

import pytest

from backends.loop_clock import is_virtual
from runtime.clock import Deadlock, date, now, run_virtual
from runtime.dispatch import new_request_id


def test_time_passes_by_timers_alone() -> None:
    async def main() -> float:
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(7200))
        return now()

    assert run_virtual(main()) == 7200


def test_work_for_a_thread_is_done_on_the_loop_in_no_time() -> None:
    async def main() -> tuple[threading.Thread, float]:
        return await asyncio.to_thread(threading.current_thread), now()

    assert run_virtual(main()) == (threading.current_thread(), 0.0)


def test_work_that_fails_fails_where_it_is_awaited() -> None:
    async def main() -> None:
        await asyncio.to_thread(int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        run_virtual(main())


def test_engines_can_tell_the_clock() -> None:
    async def main() -> bool:
        return is_virtual(asyncio.get_running_loop())

    assert run_virtual(main())
    assert not asyncio.run(main())


@pytest.mark.parametrize("seconds", [1e7, 1e8, 1e9])
def test_timers_far_away_fall_due(seconds: float) -> None:
    async def main() -> float:
        await asyncio.sleep(seconds)
        await asyncio.sleep(seconds / 3)
        return now()

    assert run_virtual(main()) == pytest.approx(seconds * 4 / 3, rel=1e-9)


def test_what_nothing_will_wake_is_told() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run_virtual(main())


def test_a_connection_is_refused() -> None:
    async def main() -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    with pytest.raises(RuntimeError, match="cannot be awaited on a virtual clock"):
        run_virtual(main())


def test_dates_and_request_ids_are_the_same_in_each_run() -> None:
    async def main() -> list[str]:
        await asyncio.sleep(1.5 if is_virtual(asyncio.get_running_loop()) else 0)
        return [date().isoformat(), new_request_id(), new_request_id()]

    assert run_virtual(main()) == run_virtual(main())
    assert run_virtual(main())[0] == "1970-01-01T00:00:01.500000+00:00"
    assert not set(asyncio.run(main())[1:]) & set(asyncio.run(main())[1:])
