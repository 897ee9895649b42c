"""`--resume`: a server goes on with the runs that the one before did not finish."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

import teola as tl
from runtime.run_store.rows import RunRow
from runtime.run_store.store import RunStore
from runtime.run_store.values import encode
from teola.app_serving.kept_runs import Keeping
from teola.app_serving.retention import Retention
from teola.app_serving.run_list import RunQuery
from teola.app_serving.service import AppService
from teola.runner import AppRunner, chosen_runner
from teola.serving.api_errors import ApiError

made: list[str] = []


@tl.tool
def send(text: str) -> str:
    """Send a text."""
    made.append(text)
    return f"sent {text}"


@tl.app
async def plain(name: str) -> str:
    return await tl.value(send(name))


@pytest.fixture(autouse=True)
def _runner() -> Iterator[None]:
    made.clear()
    runner = AppRunner()
    with chosen_runner(runner):
        yield
        runner.close()


@pytest.fixture
def keeping(tmp_path: Path) -> Keeping:
    return Keeping(tmp_path / "runs", Retention(), resumes=True)


def interrupt(folder: Path, *names: str) -> None:
    """Runs of `plain` whose process ended before it did anything."""
    store = RunStore(folder)
    for began_s, name in enumerate(names):
        given = encode([[], {"name": name}])
        row = RunRow(f"run_{name}", "plain", "", given, "{}", "", float(began_s))
        store.begin(row, is_served=True).result()
        store.end(row.id, "interrupted", began_s + 1.0).result()
    store.close()


async def ended(service: AppService) -> None:
    """Until no run is left, taken up or not."""
    while service.running or (await service.listed(RunQuery()))["data"]:
        await asyncio.sleep(0.01)


async def all_free(service: AppService, count: int) -> None:
    while True:
        with suppress(ApiError), ExitStack() as places:
            for _ in range(count):
                places.enter_context(service.admitted())
            return
        await asyncio.sleep(0.01)


def test_half_of_the_places_are_for_them_until_all_have_ended(keeping: Keeping) -> None:
    interrupt(keeping.folder, "a", "b", "c")

    async def main() -> None:
        service = AppService([plain], 4, keeping=keeping)
        await service.start()
        with service.admitted(), service.admitted():  # clients, before any of them has begun
            with pytest.raises(ApiError, match="the queue is full"), service.admitted():
                pass
            await asyncio.wait_for(ended(service), 20)
        await asyncio.wait_for(all_free(service, 4), 20)
        await service.close()

    asyncio.run(main())
    assert sorted(made) == ["a", "b", "c"]


def test_one_that_is_cancelled_before_its_turn_stays_so(keeping: Keeping) -> None:
    interrupt(keeping.folder, "a", "b")

    async def main() -> None:
        service = AppService([plain], 1, keeping=keeping)
        await service.start()
        assert service.kept is not None
        await service.kept.cancel("run_b")
        await asyncio.wait_for(ended(service), 20)
        body = await service.kept.body("run_b")
        assert body is not None
        assert b'"status": "cancelled"' in body
        await service.close()

    asyncio.run(main())
    assert made == ["a"]
