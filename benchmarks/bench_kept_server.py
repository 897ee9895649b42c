"""What `teola serve --runs` costs: seconds a run, and memory a run that waits for a person.

    python benchmarks/bench_kept_server.py [--runs 500] [--at-once 8] [--folder FOLDER]

Requests go to the service without sockets, with and without a folder; then as many runs ask, and
are answered. The last line is one JSON object.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import teola as tl
from teola.app_serving.app import make_app
from teola.app_serving.kept_runs import Keeping
from teola.app_serving.retention import Retention
from teola.app_serving.service import AppService


@tl.tool
async def act(text: str) -> str:
    return text.upper()


@tl.app
async def one(text: str) -> str:
    return await tl.value(act(text))


@tl.app
async def asks(text: str) -> str:
    return text if await tl.approve("Good?", text) else "no"


class Served:
    """One service, and its client."""

    def __init__(self, folder: Path | None, at_once: int) -> None:
        keeping = Keeping(folder, Retention()) if folder else None
        self.service = AppService([one, asks], 4 * at_once, keeping=keeping)
        transport = httpx.ASGITransport(make_app(self.service))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        self._places = asyncio.Semaphore(at_once)

    async def post(self, path: str, body: Any) -> Any:
        async with self._places:
            return (await self.http.post(path, json=body)).raise_for_status().json()

    async def runs(self, app: str, num: int) -> list[str]:
        bodies = [{"arguments": {"text": f"text {number}"}} for number in range(num)]
        found = await asyncio.gather(*(self.post(f"/v1/apps/{app}/runs", b) for b in bodies))
        return [run["id"] for run in found]

    async def answer(self, run_ids: list[str]) -> None:
        async def whole(run_id: str) -> None:
            await self.post(f"/v1/runs/{run_id}/approve", {"approved": True})
            while (await self.http.get(f"/v1/runs/{run_id}")).json()["status"] == "running":
                await asyncio.sleep(0.02)

        await asyncio.gather(*map(whole, run_ids))


async def measured(folder: Path, num: int, at_once: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, place in (("alone", None), ("kept", folder)):
        served = Served(place, at_once)
        await served.service.start()
        await served.runs("one", at_once)
        began_s = time.perf_counter()
        await served.runs("one", num)
        found[f"{name}_ms"] = 1000 * (time.perf_counter() - began_s) / num
        if place is not None:
            found |= await of_waiting(served, num)
        await served.service.close()
        await served.http.aclose()
    return found


async def of_waiting(served: Served, num: int) -> dict[str, float]:
    tracemalloc.start()
    await served.runs("asks", num)  # tables grow to what so many runs at once need
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    run_ids = await served.runs("asks", num)
    await asyncio.sleep(0.5)  # for the last ones to be written
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    began_s = time.perf_counter()
    await served.answer(run_ids[: num // 5])
    answered_ms = 1000 * (time.perf_counter() - began_s) / (num // 5)
    return {"waiting_bytes": (after - before) / num, "answered_ms": answered_ms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = given.folder or Path(made) / "runs"
        found = asyncio.run(measured(folder, given.runs, given.at_once))
    table = Table("", "")
    for name, value in found.items():
        table.add_row(name, f"{value:.2f}")
    Console().print(table)
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main()
