"""What the engine's batch policies do to latency and throughput, in virtual time.

The real core and planner serve real tokens of `backends.fake.paged_model`; a step takes the time of
a table measured on one CPU core with SmolLM2-135M's layers. Lengths are those of Azure's 2023
conversation trace (prompt / 8, output / 4). Results are the same on every machine.

    python benchmarks/bench_policies.py [--requests 600] [--only mlfq]
"""

import argparse
import json
import random
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from backends.fake.paged_model import PagedModel
from backends.llm.model.batch import StepBatch
from backends.llm.planner.policy import Admit
from benchmarks.replay import Arrival, Served, VirtualClock, replay, virtual_core

# Tokens in a step -> ms of CPU: fp32 linear layers and lm_head, one thread. Attention is not in it.
STEP_MS = {1: 15.7, 4: 37.7, 8: 46.3, 16: 61.4, 32: 93.2, 64: 127, 128: 227, 256: 425}
SLOTS = 16
LENGTHS = Path(__file__).parent / "data" / "azure2023_conv_lengths.csv"


def step_s(num_tokens: int) -> float:
    """The table, straight lines between its points and past its end."""
    points = list(pairwise(STEP_MS.items()))
    (x0, y0), (x1, y1) = next((p for p in points if num_tokens <= p[1][0]), points[-1])
    return (y0 + (y1 - y0) * (num_tokens - x0) / (x1 - x0)) / 1e3


@dataclass(frozen=True, slots=True)
class Report:
    """What one replay came to."""

    tok_s: float  # generated tokens a second, from the first arrival to the last token
    mean_ttft_s: float
    mean_e2e_s: float
    median_e2e_s: float
    p99_e2e_s: float
    p99_itl_s: float
    attained: float  # of the requests with the tightest target: share of gaps within it
    requests_attained: float  # and share of these requests all of whose gaps were
    num_preemptions: int
    num_tokens: int  # computed, decodes included
    served: tuple[Served, ...] = ()


def ragged(batch: StepBatch) -> float:
    return step_s(len(batch.tokens))


def padded(batch: StepBatch) -> float:
    """As if all slots were rows as long as the longest, whether a sequence is in them or not."""
    return step_s(SLOTS * max(span.num_rows for span in batch.spans))


def run(
    arrivals: Iterable[Arrival],
    cost: Callable[[StepBatch], float] = ragged,
    max_running: int = SLOTS,
    admit: Admit | None = None,
    is_split: bool = False,
    **options: Any,
) -> Report:
    clock = VirtualClock()
    core = virtual_core(PagedModel(), clock, cost, max_running=max_running, **options)
    if admit is not None:
        core.planner.policy = replace(core.planner.policy, admit=admit)
    num_tokens = 0
    note = core.planner.note

    def count(step: Any, elapsed_s: float) -> None:
        nonlocal num_tokens
        num_tokens += step.num_tokens
        note(step, elapsed_s)

    core.planner.note = count  # type: ignore[method-assign]
    served = replay(core, clock, arrivals, is_split=is_split)
    core.check_integrity()
    e2e = [one.e2e_s for one in served]
    itl = [gap for one in served for gap in one.itl_s]
    tight = min((one.arrival.itl_s for one in served if one.arrival.itl_s), default=1e9)
    hits = [
        [gap <= tight for gap in one.itl_s]
        for one in served
        if len(one.ids) > 1 and one.arrival.itl_s in (tight, None)
    ]
    return Report(
        tok_s=sum(len(one.ids) for one in served) / clock(),
        mean_ttft_s=statistics.mean(one.ttft_s for one in served),
        mean_e2e_s=statistics.mean(e2e),
        median_e2e_s=statistics.median(e2e),
        p99_e2e_s=quantile(e2e, 0.99),
        p99_itl_s=quantile(itl, 0.99),
        attained=statistics.mean(hit for row in hits for hit in row),
        requests_attained=statistics.mean(all(row) for row in hits),
        num_preemptions=core.planner.num_preemptions,
        num_tokens=num_tokens,
        served=tuple(served),
    )


def quantile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def azure(
    count: int, rate: float | None, seed: int = 0, prompt: int = 8, output: int = 4
) -> list[Arrival]:
    """Conversation lengths in the trace's order, prompts and outputs so many times shorter;
    Poisson arrivals, all at once if `rate` is None."""
    rng = random.Random(seed)
    rows = LENGTHS.read_text(encoding="utf-8").splitlines()[3:]
    at_s = 0.0
    arrivals: list[Arrival] = []
    for row in (rows * (1 + count // len(rows)))[:count]:
        num_prompt, num_output = (int(cell) for cell in row.split(","))
        at_s += rng.expovariate(rate) if rate else 0.0
        ids = rng.choices(range(256), k=max(2, num_prompt // prompt))
        arrivals.append(Arrival(at_s, ids, max(1, num_output // output)))
    return arrivals


def heavy_tailed(count: int, rate: float, seed: int = 0, output: int = 4) -> list[Arrival]:
    """Every tenth output is eight times as long."""
    rng = random.Random(seed)
    return [
        replace(a, num_output=a.num_output * (8 if rng.random() < 0.1 else 1))
        for a in azure(count, rate, seed, output=output)
    ]


def continuous(count: int) -> dict[str, float]:
    """Orca: sequences join and leave a running batch, against one batch after the other. `padded`
    computes all rows of a batch until its last one ends, as generate() of transformers does;
    `static` pads nothing and lets finished rows go, so that only their slots are lost."""
    full = azure(count, None)
    settings: dict[str, dict[str, Any]] = {
        "padded": {"policy": "static", "cost": padded},
        "static": {"policy": "static"},
        "whole": {"policy": "whole"},
        "fcfs_128": {"token_budget": 128},
    }
    saturated = {name: run(full, **how) for name, how in settings.items()}
    rate = 0.75 * saturated["whole"].tok_s / mean_output(full)
    result = {"req_s": rate}
    for name, how in settings.items():
        result[f"{name}_saturated_tok_s"] = saturated[name].tok_s
        result[f"{name}_mean_e2e_s"] = run(azure(count, rate), **how).mean_e2e_s
    return result


def chunked(count: int) -> dict[str, float]:
    """Sarathi-Serve: chunks of a prompt beside the decodes, against whole prompts."""
    full = azure(count, None)
    rate = 0.75 * run(full, policy="whole").tok_s / mean_output(full)
    result: dict[str, float] = {"req_s": rate}
    for budget in (0, 128, 64):
        how: dict[str, Any] = {"policy": "whole"} if not budget else {"token_budget": budget}
        name = f"chunk_{budget}" if budget else "whole"
        report = run(azure(count, rate), **how)
        result[f"{name}_p99_itl_s"] = report.p99_itl_s
        result[f"{name}_mean_ttft_s"] = report.mean_ttft_s
        result[f"{name}_saturated_tok_s"] = run(full, **how).tok_s
    return result


def mlfq(count: int) -> dict[str, float]:
    """FastServe where it pays (4 slots, heavy tails, 90 % load) and where it does not."""
    result: dict[str, float] = {}
    for tail, make, slots in (("heavy", heavy_tailed, 4), ("light", azure, 16)):
        full = run(make(count, 1e6), max_running=slots, token_budget=128)
        rate = 0.9 * full.tok_s / mean_output(make(count, 1e6))
        result[f"{tail}_req_s"] = rate
        for policy in ("fcfs", "mlfq"):
            report = run(make(count, rate), policy=policy, max_running=slots, token_budget=128)
            for name in ("mean_ttft_s", "median_e2e_s", "mean_e2e_s", "p99_e2e_s"):
                result[f"{tail}_{policy}_{name}"] = getattr(report, name)
    return result


def slo(count: int) -> dict[str, float]:
    """AccelGen: chunks sized by the tightest target in the batch, against fixed ones. Prompts / 2,
    outputs / 8, so that most steps carry a chunk; one request in ten wants a token in 200 ms, the
    others in one second."""
    rng = random.Random(1)
    arrivals = [
        replace(a, itl_s=0.2 if rng.random() < 0.1 else 1.0)
        for a in azure(count, 0.6, prompt=2, output=8)
    ]
    full = [replace(a, at_s=0.0) for a in arrivals]
    result: dict[str, float] = {}
    settings: list[tuple[str, dict[str, Any]]] = [
        (f"fixed_{budget}", {"token_budget": budget}) for budget in (512, 256, 108, 96, 64)
    ]
    for name, how in [*settings, ("slo", {"policy": "slo"})]:
        report = run(arrivals, **how)
        result[f"{name}_attained"] = report.attained
        result[f"{name}_requests_attained"] = report.requests_attained
        result[f"{name}_mean_ttft_s"] = report.mean_ttft_s
        result[f"{name}_saturated_tok_s"] = run(full, **how).tok_s
    return result


def lpm(count: int) -> dict[str, float]:
    """Longest prefix first: 24 prompt heads of 512 tokens, a pool that holds about 8 of them."""
    rng = random.Random(2)
    heads = [rng.choices(range(256), k=512) for _ in range(24)]
    arrivals = [
        Arrival(0.5 * i, [*rng.choice(heads), *rng.choices(range(256), k=32)], 8)
        for i in range(count)
    ]
    result: dict[str, float] = {}
    for policy in ("fcfs", "lpm"):
        how = {"policy": policy, "kv_tokens": 4096, "patience_ms": 30_000}
        report = run(arrivals, max_running=4, token_budget=128, **how)
        result[f"{policy}_computed_tokens"] = report.num_tokens
        result[f"{policy}_mean_ttft_s"] = report.mean_ttft_s
        result[f"{policy}_p99_e2e_s"] = report.p99_e2e_s
    return result


def priority(count: int) -> dict[str, float]:
    """One request in ten is urgent, at 95 % load: without priorities, and with them."""
    rng = random.Random(3)
    full = run(azure(count, None), max_running=8, token_budget=128)
    rate = 0.95 * full.tok_s / mean_output(azure(count, None))
    is_urgent = [rng.random() < 0.1 for _ in range(count)]
    result: dict[str, float] = {}
    for way, level in (("equal", 0), ("priority", 1)):
        pairs = zip(azure(count, rate), is_urgent, strict=True)
        arrivals = [replace(a, priority=level * urgent) for a, urgent in pairs]
        served = run(arrivals, max_running=8, token_budget=128).served
        for wanted, name in ((True, "urgent"), (False, "other")):
            pairs_served = zip(served, is_urgent, strict=True)
            e2e = [one.e2e_s for one, urgent in pairs_served if urgent == wanted]
            result[f"{way}_{name}_mean_e2e_s"] = statistics.mean(e2e)
    return result


def watermark(count: int) -> dict[str, float]:
    """Starting only what fits for a while: preemptions and computed tokens in a small pool."""
    full = azure(count, None)
    result: dict[str, float] = {}
    settings: dict[str, dict[str, Any]] = {
        "none": {"admit": lambda sequences, *_: sequences},
        "default": {},
        "large": {"watermark": 0.1},
    }
    for name, how in settings.items():
        report = run(full, token_budget=128, kv_tokens=2048, **how)
        result[f"{name}_preemptions"] = report.num_preemptions
        result[f"{name}_computed_tokens"] = report.num_tokens
        result[f"{name}_tok_s"] = report.tok_s
    return result


def split(count: int) -> dict[str, float]:
    """Prefill and decode as two requests, as teola's graphs send them, at 90 % load."""
    full = azure(count, None)
    rate = 0.9 * run(full, token_budget=128).tok_s / mean_output(full)
    result = {"req_s": rate}
    for policy in ("fcfs", "sarathi"):
        report = run(azure(count, rate), policy=policy, token_budget=128, is_split=True)
        result[f"{policy}_mean_ttft_s"] = report.mean_ttft_s
        result[f"{policy}_mean_e2e_s"] = report.mean_e2e_s
    return result


def mean_output(arrivals: Iterable[Arrival]) -> float:
    return statistics.mean(a.num_output for a in arrivals)


ALL: dict[str, Callable[[int], dict[str, float]]] = {
    "continuous": continuous,
    "chunked": chunked,
    "mlfq": mlfq,
    "slo": slo,
    "lpm": lpm,
    "priority": priority,
    "watermark": watermark,
    "split": split,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--only", choices=ALL)
    args = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    for name in [args.only] if args.only else ALL:
        results[name] = {key: round(x, 4) for key, x in ALL[name](args.requests).items()}
        print(name, *(f"  {key:32} {x:10.3f}" for key, x in results[name].items()), sep="\n")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
