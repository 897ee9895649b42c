"""A trace as Chrome's trace events: what Perfetto's importer asks of them."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import traced_apps as apps
from typer.testing import CliRunner

import teola as tl
from samples.advanced_rag import rag
from teola.cli.main import app as cli
from teola.telemetry.chrome import chrome_events

FILES = [str(Path(__file__).parents[3] / "samples/data/sqlite")]
Json = dict[str, Any]


def of_phase(events: Iterable[Json], *phases: str) -> list[Json]:
    return [event for event in events if event["ph"] in phases]


@pytest.fixture(params=["rag", "around", "each", "fails", "many", "cancelled"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The trace file of one of several runs."""
    file = tmp_path / "run.jsonl"
    trace = str(file)
    if request.param == "rag":
        with tl.fake():
            rag.using(trace=trace)("How long is SQLite supported?", FILES)
    elif request.param == "around":
        apps.around.using(trace=trace)("Why?")
    elif request.param == "each":
        apps.each.using(trace=trace)([f"{n}?" for n in range(20)])
    elif request.param == "many":
        apps.chain.using(trace=trace).batch([f"{n}?" for n in range(8)])
    elif request.param == "cancelled":
        asyncio.run(cancelled(trace))
    else:
        with pytest.raises(tl.errors.NodeFailed):
            apps.fails.using(trace=trace)("Why?")
    return file


async def cancelled(trace: str) -> None:
    """A run that is stopped while a tool hangs."""
    apps.hanging.clear()
    running = asyncio.ensure_future(apps.hangs.using(trace=trace).arun("Why?"))
    assert await asyncio.to_thread(apps.hanging.wait, 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.fixture
def events(path: Path, tmp_path: Path) -> list[Json]:
    to = tmp_path / "chrome.json"
    result = CliRunner().invoke(cli, ["trace", str(path), "--chrome", str(to)])
    assert result.exit_code == 0, result.output
    found: list[Json] = json.loads(to.read_text())["traceEvents"]
    return found


def test_every_query_is_an_async_slice_with_a_begin_and_an_end(
    events: list[Json], path: Path
) -> None:
    ends: dict[tuple[str, str], list[Json]] = defaultdict(list)
    for event in of_phase(events, "b", "e"):
        ends[event["cat"], event["id"]].append(event)
    for begin, end in ends.values():
        assert (begin["ph"], end["ph"]) == ("b", "e")
        assert begin["ts"] <= end["ts"]
    queries = {own_id for category, own_id in ends if category == "query"}
    assert queries == {trace.query for trace in tl.read_trace(path).traces}


def test_slices_of_a_track_nest(events: list[Json]) -> None:
    tracks = defaultdict(list)
    for event in of_phase(events, "X"):
        assert event["dur"] > 0
        tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for slices in tracks.values():
        slices.sort()
        for (_, end), (begin, _) in pairwise(slices):
            assert end <= begin + 1e-6


def test_every_primitive_that_ran_is_a_slice_inside_its_batch(
    events: list[Json], path: Path
) -> None:
    slices = [e for e in of_phase(events, "X") if e["cat"] == "primitive"]
    ran = [
        span
        for trace in tl.read_trace(path).traces
        for span in trace.spans
        if span.start_s is not None
    ]
    assert Counter(e["name"] for e in slices) == Counter(span.node for span in ran)
    batches = {(e["pid"], e["name"]): e for e in of_phase(events, "X") if e["cat"] == "batch"}
    for each in slices:
        batch = batches[each["pid"], f"batch {each['args']['batch']}"]
        assert batch["ts"] <= each["ts"]
        assert each["ts"] + each["dur"] <= batch["ts"] + batch["dur"] + 1e-3


def test_every_flow_has_a_start_and_a_finish_inside_slices(events: list[Json], path: Path) -> None:
    flows: dict[int, list[Json]] = defaultdict(list)
    for event in of_phase(events, "s", "f"):
        flows[event["id"]].append(event)
    slices = defaultdict(list)
    for event in of_phase(events, "X"):
        slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for start, finish in flows.values():
        assert (start["ph"], finish["ph"], finish["bp"]) == ("s", "f", "e")
        assert start["ts"] <= finish["ts"]
        for end in (start, finish):
            own = slices[end["pid"], end["tid"]]
            assert any(begin <= end["ts"] < until for begin, until in own)
    ran = {
        (trace.query, span.node)
        for trace in tl.read_trace(path).traces
        for span in trace.spans
        if span.start_s is not None
    }
    edges = sum(
        (trace.query, before) in ran
        for trace in tl.read_trace(path).traces
        for span in trace.spans
        if (trace.query, span.node) in ran
        for before in span.deps
    )
    assert len(flows) == edges


def test_counters_never_fall_below_nothing_and_end_there(events: list[Json]) -> None:
    last: dict[int, Json] = {}
    for event in of_phase(events, "C"):
        assert min(event["args"].values()) >= 0
        last[event["pid"]] = event["args"]
    assert last
    assert all(set(args.values()) == {0} for args in last.values())


def test_events_are_in_order_of_time_and_every_track_has_a_name(events: list[Json]) -> None:
    times = [event["ts"] for event in events if "ts" in event]
    assert times == sorted(times)
    named = {(e["pid"], e["tid"]) for e in of_phase(events, "M") if e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in of_phase(events, "X")} == named


def test_engines_are_processes(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    apps.chain.using(trace=str(path))("Why?")
    events = chrome_events(tl.read_trace(path).traces)
    names = [e["args"]["name"] for e in of_phase(events, "M") if e["name"] == "process_name"]
    assert names == ["queries", "engine llm", "engine python"]
