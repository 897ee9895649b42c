"""A profile bounds the batches of an engine, and batches that run teach it."""

import asyncio

import pytest

from backends.base import Request
from backends.fake.retrieval import FakeEmbedder
from backends.registry import EngineSpec
from graph_opt.text import parse
from runtime.clock import run_virtual
from runtime.cost.curves import Curve, Surface
from runtime.cost.latency import EngineLatency, LatencyModel
from runtime.engine_scheduler import EngineScheduler
from runtime.events import EventLog
from runtime.hints import Hint
from runtime.job import Job
from runtime.layout import layout_of
from runtime.service import Runtime

PEAK_AT_2 = LatencyModel(
    {"embed": Surface.flat(Curve.measured([(1, 1.0), (2, 1.0), (4, 2.0), (8, 4.0)]))}
)


def scheduler(latency: EngineLatency | None, **options: object) -> EngineScheduler:
    return EngineScheduler("embedder", FakeEmbedder("fake:", options), latency=latency)


def test_without_a_profile_a_batch_has_what_the_engine_takes() -> None:
    assert scheduler(None, max_batch_items=32).batch_items == 32


def test_with_a_profile_a_batch_has_what_pays_and_what_the_engine_takes() -> None:
    assert scheduler(EngineLatency(PEAK_AT_2), max_batch_items=32).batch_items == 2
    assert scheduler(EngineLatency(PEAK_AT_2), max_batch_items=1).batch_items == 1


TWO_MAPS = """
graph g {
  %xs = input [type="list[str]"]
  %m = map %xs {
    %x = input [type="str"]
    %v = embed %x [engine="embedder"]
    return %v
  }
  return %m
}
"""


def test_waiting_requests_go_in_batches_of_the_efficient_size() -> None:
    log = EventLog()
    spec = EngineSpec("embedder", "fake:", {"latency_s": 0.1})

    async def main() -> None:
        runtime = Runtime(latency_of=lambda _: EngineLatency(PEAK_AT_2))
        layout = layout_of(parse(TWO_MAPS))
        inputs = {"xs": ["a", "b", "c"]}
        await runtime.run(layout, inputs, {"embedder": spec}, {}, listener=log)
        await runtime.close()

    run_virtual(main())

    assert log.batches() == (
        "0.000 embedder embed q1.m[0].v q1.m[1].v\n0.100 embedder embed q1.m[2].v"
    )


async def _run(known: EngineScheduler, num_requests: int) -> None:
    done = asyncio.Event()
    left = num_requests

    def on_done(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    for number in range(num_requests):
        request = Request(f"{number:032x}", "embed", (["x"],))
        known.submit(Job(request, "q1", Hint(0, 1.0), lambda _: None, on_done))
    await done.wait()
    await known.close()


def test_a_batch_that_ran_alone_teaches_the_latency() -> None:
    latency = EngineLatency(PEAK_AT_2)
    run_virtual(_run(scheduler(latency, latency_s=2.0), 1))

    assert latency.correction("embed") == pytest.approx(2**0.2)


def test_batches_that_ran_side_by_side_teach_nothing() -> None:
    latency = EngineLatency(PEAK_AT_2)
    run_virtual(_run(scheduler(latency, latency_s=2.0, num_slots=2, max_batch_items=1), 2))

    assert latency.correction("embed") == 1.0
