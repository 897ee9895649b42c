"""When queries come."""

from pathlib import Path

import pytest

from backends.errors import ConfigError
from teola.simulation.arrivals import Load


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "trace.jsonl"
    rows = ((1000, 5), (2000, 6), (4000, 7))
    lines = (f'{{"timestamp": {t}, "input_length": 10, "output_length": {n}}}' for t, n in rows)
    path.write_text("\n".join(lines))
    return str(path)


def times(load: Load) -> list[float]:
    return [round(arrival.at_s, 6) for arrival in load.arrivals()]


def test_a_seed_gives_the_same_arrivals_and_another_one_others() -> None:
    assert times(Load(4, 50)) == times(Load(4, 50))
    assert times(Load(4, 50)) != times(Load(4, 50, seed=1))


def test_a_rate_is_the_mean_of_many_arrivals() -> None:
    assert times(Load(4, 4000))[-1] == pytest.approx(1000, rel=0.05)


def test_a_duration_ends_a_load_of_any_number() -> None:
    found = times(Load(4, duration_s=100))
    assert 300 < len(found) < 500
    assert found[-1] < 100


def test_a_trace_has_its_own_times_and_is_taken_again_when_more_are_asked_for(trace: str) -> None:
    assert times(Load(trace=trace)) == [0, 1, 3]
    again = list(Load(trace=trace, num_queries=5).arrivals())
    assert [arrival.at_s for arrival in again] == [0, 1, 3, 4.5, 5.5]
    assert [arrival.row.output_tokens for arrival in again if arrival.row] == [5, 6, 7, 5, 6]


def test_a_trace_is_stretched_to_a_rate(trace: str) -> None:
    found = times(Load(rate=10, trace=trace, num_queries=3000))
    assert found[-1] == pytest.approx(300, rel=0.01)
    assert (found[2] - found[1]) == pytest.approx(2 * (found[1] - found[0]), rel=1e-4)


def test_lengths_without_times_come_at_random(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text("context_tokens,generated_tokens\n1,2\n")
    with pytest.raises(ConfigError, match="tells no times, so say a rate"):
        times(Load(trace=str(path)))
    assert len(times(Load(rate=2, trace=str(path), num_queries=7))) == 7


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (Load(), "say how often"),
        (Load(rate=0), "rate is above 0"),
        (Load(rate=1, num_queries=0), "at least one query"),
        (Load(rate=1, duration_s=-1), "duration is above 0"),
    ],
)
def test_a_load_that_says_too_little_is_refused(load: Load, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        times(load)
