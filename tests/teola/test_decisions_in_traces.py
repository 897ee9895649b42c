"""A trace says why each primitive waited: at its engine's queue and inside the engine."""

import re

import pytest

import teola as tl
from teola.telemetry.chrome import chrome_events
from teola.viewer.model import Trace
from teola.viewer.reading import TraceFile, read_trace_file
from teola.viewer.web.content import file_content
from teola.viewer.why import causes, why_lines
from teola.virtual import on_virtual_clock

llm = tl.LLM(
    "emulated:h100/llama-3.1-8b",
    tokenizer="bytes",
    output_tokens=40,
    max_running=2,
    token_budget=128,
)


@tl.prompt(llm, max_tokens=40)
def summary(text: str) -> str:
    return f"Sum up: {text}"


@tl.prompt(llm, max_tokens=40)
def combine(texts: list[str]) -> str:
    return f"Combine: {tl.join(texts)}"


@tl.app
def map_reduce(texts: list[str]) -> str:
    return combine(tl.map(summary, texts))


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, ...]:
    """Three queries of three summaries on an engine with two slots."""
    path = tmp_path_factory.mktemp("traces") / "run.jsonl"

    async def main() -> None:
        app = map_reduce.using(memo=False, trace=str(path))
        texts = [[f"{query} {item} " * 50 for item in range(3)] for query in range(3)]
        await app.abatch([{"texts": each} for each in texts])

    on_virtual_clock(main)
    return read_trace_file(path).traces


def test_the_causes_of_a_wait_are_the_whole_wait(traces: tuple[Trace, ...]) -> None:
    waits = [(trace, span) for trace in traces for span in trace.spans]
    assert sum(trace.queue_s(span) > 0.1 for trace, span in waits) >= 6
    for trace, span in waits:
        told_s = sum(cause.seconds for cause in causes(trace, span))
        assert told_s == pytest.approx(trace.queue_s(span), abs=1e-3)


def test_who_held_the_slot_and_whose_turn_came_first_is_named(traces: tuple[Trace, ...]) -> None:
    third = traces[2].spans[0]
    behind = {(each.at.partition("[")[0], each.why) for each in third.wait.behind}
    assert behind == {("q1.map", "slot"), ("q2.map", "turn")}
    assert third.policy == "application_aware"
    assert max(span.num_waiting for span in traces[0].spans) >= 3


def test_how_the_engine_served_it_is_told(traces: tuple[Trace, ...]) -> None:
    records = [span.served for trace in traces for span in trace.spans]
    assert all(record is not None and record.num_steps >= 40 for record in records)
    assert any(record and record.limits and record.limits[0][0] == "tokens" for record in records)


def test_sentences_say_all_of_it(traces: tuple[Trace, ...]) -> None:
    trace = traces[2]
    text = "\n".join(why_lines(trace, trace.spans[0]))
    assert re.search(r"behind q2.map\[.\].summary \(its query had its turn\)", text)
    assert re.search(r"behind q1.map\[.\].summary \(it held the slot\)", text)
    assert "The engine served it in 4" in text


def test_the_page_and_chromes_events_say_it_too(traces: tuple[Trace, ...]) -> None:
    (_, _, third) = file_content("run", TraceFile(traces))["queries"]
    told = "\n".join(third["spans"][0]["why"])
    assert re.search(r"behind q2.map\[.\].summary \(its query had its turn\)", told)
    events = chrome_events(traces)
    waits = [event["args"] for event in events if event.get("cat") == "wait" and "args" in event]
    assert any("behind q1.map[" in why for args in waits for why in args["why"])
    assert all(args["policy"] == "application_aware" for args in waits)
    ran = [event["args"] for event in events if event.get("cat") == "primitive"]
    assert all(args["served"]["num_steps"] for args in ran)
