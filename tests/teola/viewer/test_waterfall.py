from textwrap import dedent

from viewer_query import EVENTS, at, demo, drawn, ran, trace_of

from teola.viewer.waterfall import waterfall


def text(expected: str) -> str:
    return dedent(expected).strip("\n").rstrip()


def test_each_primitive_is_a_bar_that_shows_waiting_and_running() -> None:
    assert drawn(waterfall(demo(), 92), 92) == text(
        """
                          0                   1.00 s   queued      ran  batch                   work
        llm  4 primitives, 4 batches, 710 ms busy, 30% of prompt tokens cached
          expand.prompt   ██                          10.0 ms  80.0 ms      1             40 prefill
          expand            ████████                     0 ms   300 ms      1              12 decode
          answer.prompt                   ██          30.0 ms  50.0 ms      1  100 prefill 60 cached
          answer                            ███████      0 ms   280 ms      1              30 decode
        embedder  2 primitives, 1 batch, 80.0 ms busy
          hits[0].vector            ███               10.0 ms  80.0 ms      2
          hits[1].vector            ███               10.0 ms  80.0 ms      2
        store  2 primitives, 2 batches, 40.0 ms busy
          hits[0].search               █                 0 ms  20.0 ms      1                 1 item
          hits[1].search               ░░█             100 ms  20.0 ms      1                 1 item
        """
    )


def test_at_80_columns_only_the_bars_show_the_waiting() -> None:
    assert drawn(waterfall(demo(), 80), 80) == text(
        """
                          0                1.00 s      ran  batch                   work
        llm  4 primitives, 4 batches, 710 ms busy, 30% of prompt tokens cached
          expand.prompt   ██                       80.0 ms      1             40 prefill
          expand            ███████                 300 ms      1              12 decode
          answer.prompt                 ██         50.0 ms      1  100 prefill 60 cached
          answer                          ██████    280 ms      1              30 decode
        embedder  2 primitives, 1 batch, 80.0 ms busy
          hits[0].vector           ██              80.0 ms      2
          hits[1].vector           ██              80.0 ms      2
        store  2 primitives, 2 batches, 40.0 ms busy
          hits[0].search             █             20.0 ms      1                 1 item
          hits[1].search             ░░█           20.0 ms      1                 1 item
        """
    )


def test_no_line_is_wider_than_the_terminal() -> None:
    for width in (80, 100, 200):
        assert max(map(len, drawn(waterfall(demo(), width), 500).splitlines())) <= width


def test_a_primitive_that_still_runs_has_a_plus() -> None:
    begun = [event for event in EVENTS if event.t < 100.35]

    assert "0 ms+" in drawn(waterfall(trace_of(begun), 100))


def test_a_primitive_that_still_waits_has_no_running_bar() -> None:
    begun = [*EVENTS[:3], at(0.5, "ready", "expand", "decode", engine="llm", items=1)]
    (line,) = [t for t in drawn(waterfall(trace_of(begun), 100)).splitlines() if "  expand " in t]

    assert "█" not in line


def test_only_the_longest_of_many_are_shown_and_the_rest_is_counted() -> None:
    many = [
        event
        for i in range(30)
        for event in ran(f"hits[{i}].vector", "embed", "embedder", (0.1, 0.1, 0.2 + i / 100), i)
    ]
    drawing = drawn(waterfall(trace_of([EVENTS[0], *many]), 100, limit=5))

    assert "hits[29].vector" in drawing
    assert "hits[24].vector" not in drawing
    assert "... 25 shorter ones (--all)" in drawing
