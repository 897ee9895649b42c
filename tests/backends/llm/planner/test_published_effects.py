"""Policies show the effect they were published for, in virtual time with the core's real tokens.

The same runs with more requests are in benchmarks/RESULTS.md, with what each policy costs.
"""

from benchmarks.bench_policies import azure, heavy_tailed, mean_output, padded, run


def test_continuous_batching_has_more_throughput_than_static() -> None:
    full = azure(96, rate=None)
    static = run(full, cost=padded, policy="static")
    loose = run(full, policy="static")
    continuous = run(full, policy="whole")
    assert continuous.tok_s >= 1.5 * static.tok_s
    assert continuous.tok_s > 1.1 * loose.tok_s  # without any padding the gap is smaller


def test_chunks_take_the_stalls_out_of_decodes_at_the_same_throughput() -> None:
    arrivals = azure(120, rate=1.5)
    whole = run(arrivals, policy="whole")
    chunked = run(arrivals, token_budget=64)
    assert whole.p99_itl_s >= 3 * chunked.p99_itl_s
    full = azure(64, rate=None)
    assert run(full, token_budget=64).tok_s >= 0.9 * run(full, policy="whole").tok_s


def test_mlfq_pays_for_heavy_tails_at_the_cost_of_the_long_ones() -> None:
    full = heavy_tailed(300, rate=1e6, output=12)
    slots = {"max_running": 4, "token_budget": 128}
    rate = 0.9 * run(full, **slots).tok_s / mean_output(full)
    arrivals = heavy_tailed(300, rate, output=12)
    fcfs = run(arrivals, **slots)
    mlfq = run(arrivals, policy="mlfq", **slots)
    assert fcfs.median_e2e_s >= 1.5 * mlfq.median_e2e_s
    assert fcfs.mean_ttft_s >= 3 * mlfq.mean_ttft_s
    assert fcfs.p99_e2e_s < mlfq.p99_e2e_s


def test_mlfq_delays_where_lengths_are_alike() -> None:
    arrivals = azure(120, rate=1.9)
    assert (
        run(arrivals, token_budget=128).mean_e2e_s
        < run(arrivals, token_budget=128, policy="mlfq").mean_e2e_s
    )
