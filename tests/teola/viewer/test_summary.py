from textwrap import dedent

from viewer_query import EVENTS, at, demo, drawn, ran, trace_of

from teola.viewer.summary import critical_path_table, header, run_summary


def text(expected: str) -> str:
    return dedent(expected).strip("\n").rstrip()


def test_the_header_says_what_ran_how_it_ended_and_what_it_cost() -> None:
    assert drawn(header(demo())) == text(
        """
        demo  query q1  ok  1.00 s  2026-01-02T03:04:05.000+00:00
        8 primitives in 7 batches, 140 prefilled, 60 cached, 42 decoded tokens
        """
    )


def test_the_critical_path_table_says_where_each_step_went() -> None:
    assert drawn(critical_path_table(demo(), 80), 80) == text(
        """
        step                      idle   queued      ran    total  share
        ────────────────────────────────────────────────────────────────
        expand.prompt prefill  10.0 ms  10.0 ms  80.0 ms   100 ms    10%
        expand decode             0 ms     0 ms   300 ms   300 ms    30%
        hits[1].vector embed   10.0 ms  10.0 ms  80.0 ms   100 ms    10%
        hits[1].search search     0 ms   100 ms  20.0 ms   120 ms    12%
        answer.prompt prefill     0 ms  30.0 ms  50.0 ms  80.0 ms     8%
        answer decode             0 ms     0 ms   280 ms   280 ms    28%
        after the last                                    20.0 ms     2%
        """
    )


def test_a_run_is_summed_up_in_two_lines() -> None:
    assert run_summary(demo()) == text(
        """
        1.00 s, 140 prefilled, 60 cached, 42 decoded tokens, 8 primitives in 7 batches
        critical path: expand 40% > map/search 22% > answer 36%
        """
    )


def test_a_failed_query_shows_its_error() -> None:
    failed = at(0.65, "done", status="NodeFailed", error="%answer.prompt failed: no room")

    assert "%answer.prompt failed: no room" in drawn(header(trace_of([EVENTS[0], failed])))


def test_a_run_without_primitives_has_no_critical_path() -> None:
    assert "\n" not in run_summary(trace_of([EVENTS[0], EVENTS[-1]]))


def test_what_took_below_a_hundredth_is_left_out_of_the_summary() -> None:
    events = [EVENTS[0], *ran("expand", "decode", "llm", (0.0, 0.0, 0.9), 0)]
    events += ran("answer.prompt", "prefill", "llm", (0.9, 0.9, 0.901), 1)

    assert run_summary(trace_of(events)).splitlines()[1] == "critical path: expand 100%"
