"""Requests of a trace without an app, and the engine that jumps beside the one that steps."""

from pathlib import Path

import pytest

from backends.emulated.descriptions import device_of
from backends.emulated.measure import as_toml
from backends.errors import ConfigError
from teola.simulation.arrivals import Load
from teola.simulation.chat import Chat
from teola.simulation.served import Figures
from teola.viewer.page import page
from teola.viewer.reading import read_trace_file

DATA = Path(__file__).parents[3] / "benchmarks/data"
LENGTHS = str(DATA / "azure2023_conv_lengths.csv")
STEPS, EVENTS = (f"emulated:h100/llama-3.1-8b?{o}" for o in ("tokenizer=bytes", "detail=events"))


def served(url: str, load: Load, policy: str = "fcfs") -> Figures:
    return Chat(f"{url}&max_running=32&policy={policy}").run(load.arrivals(), policy)


@pytest.mark.parametrize(
    ("rate", "policy", "off"),
    [(4, "fcfs", 0.001), (30, "fcfs", 0.001), (12, "application_aware", 0.06)],
)
def test_jumps_take_as_long_as_their_steps(rate: float, policy: str, off: float) -> None:
    """Under policies that choose the size of chunks a bit apart: the engine that steps goes by what
    it has learnt of its steps' times, the one that jumps by the device's."""
    load = Load(rate, 60, trace=LENGTHS)
    steps, events = served(STEPS, load, policy), served(EVENTS, load, policy)
    for name in ("mean_s", "p99_s", "ttft_mean_s", "seconds"):
        assert getattr(events, name) == pytest.approx(getattr(steps, name), rel=off), name
    assert events.decoded_tokens_s == pytest.approx(steps.decoded_tokens_s, rel=off)
    assert events.utilisation["llm"] == pytest.approx(steps.utilisation["llm"], rel=off)


def test_what_an_engine_takes_before_each_step_is_spent_alike_by_steps_and_jumps(
    tmp_path: Path,
) -> None:
    device, _ = device_of("h100")
    slow, path = device.model_copy(update={"between_steps_s": 0.002}), tmp_path / "slow.toml"
    path.write_text(as_toml(slow))
    load = Load(4, 60, trace=LENGTHS)
    steps, events = (served(f"{url}&device_file={path}", load) for url in (STEPS, EVENTS))
    assert events.mean_s == pytest.approx(steps.mean_s, rel=0.001)
    assert events.utilisation["llm"] == pytest.approx(steps.utilisation["llm"], rel=0.001)
    assert steps.mean_s > 1.1 * served(STEPS, load).mean_s


def test_prefixes_that_a_trace_names_are_found_alike(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    heads = [[1, 2], [1, 2, 3], [4], [1, 2, 3], [1, 5], [4, 6]]
    rows = (
        f'{{"timestamp": {number * 400}, "input_length": {len(ids) * 512 + 100}, '
        f'"output_length": 20, "hash_ids": {[*ids, 100 + number]}}}'
        for number, ids in enumerate(heads)
    )
    path.write_text("\n".join(rows))
    load = Load(trace=str(path))
    steps, events = served(STEPS, load), served(EVENTS, load)
    assert events.cached_share == pytest.approx(steps.cached_share, abs=0.005)
    assert events.cached_share > 0.4
    assert events.mean_s == pytest.approx(steps.mean_s, rel=0.002)
    large = served(f"{EVENTS}&page_size=512", load)
    assert large.cached_share == pytest.approx(events.cached_share, abs=0.01)


def test_a_chat_has_the_lengths_of_its_trace_and_needs_one() -> None:
    with pytest.raises(ConfigError, match="name a trace"):
        Chat(EVENTS).run(Load(1, 3).arrivals())
    found = Chat(EVENTS).run(Load(2, 1000, trace=LENGTHS).arrivals())
    tokens = found.decoded_tokens_s * found.seconds
    rows = [line.split(",") for line in Path(LENGTHS).read_text().splitlines()[3:]]
    assert tokens == pytest.approx(sum(int(row[1]) for row in rows))


def test_an_engine_in_real_time_serves_no_virtual_chat() -> None:
    with pytest.raises(ConfigError, match="computes in real time"):
        Chat("local:smollm2-135m").run(Load(1, 3, trace=LENGTHS).arrivals())


def test_instances_share_the_requests() -> None:
    load = Load(40, 300, trace=LENGTHS)
    one, three = (served(EVENTS.replace("h100", name, 1), load) for name in ("h100", "3xh100"))
    assert three.mean_s < one.mean_s / 1.5
    assert three.failed == one.failed == 0


def test_fifteen_hundred_requests_are_served_and_told_alike_each_time(tmp_path: Path) -> None:
    logs = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    for log in logs:
        load = Load(12, 1500, trace=LENGTHS, seed=3)
        found = Chat(f"{EVENTS}&max_running=256", log).run(load.arrivals())
        assert (found.queries, found.failed) == (1500, 0)
    assert logs[0].read_bytes() == logs[1].read_bytes()


def test_the_log_is_a_trace_with_a_span_for_each_request(tmp_path: Path) -> None:
    found = Chat(EVENTS, tmp_path / "log.jsonl").run(Load(40, 20, trace=LENGTHS).arrivals())
    file = read_trace_file(tmp_path / "log.jsonl")
    (trace,) = file.traces
    assert (trace.app, trace.status, trace.warning, file.warning) == ("chat", "ok", "", "")
    took = [span.end_s - span.ready_s for span in trace.spans if span.end_s is not None]
    assert sum(took) / 20 == pytest.approx(found.mean_s, rel=1e-3)
    assert all(span.first_token_s and span.usage.decode_tokens for span in trace.spans)
    page(trace, 100, False, 20)
