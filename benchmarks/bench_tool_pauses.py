"""Agents that wait for tools, on a real model, in a pool that holds few of them (InferCept).

    python benchmarks/bench_tool_pauses.py [--agents 8] [--kv-tokens 2400]

Chats with notes of their own call tools of 0.3 s, every third one of 3 s. Beside each other: `lru`
and `next_use`, each without a lower tier, with one in host memory and with one on disk. `computed`
are prompt tokens; `turn` is the mean and 95th percentile of seconds from a message to its answer;
`waits` is how often a request waited for KV from a lower tier. Answers are equal in all rows. The
last line is JSON.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import teola as tl
from benchmarks.bench_next_use import notes_of
from runtime.events import Event
from teola.runner import default_runner
from teola.serving.kv_metrics import HasCacheStats

TURNS = 4
NUM_FACTS = 60


def agents_of(llm: tl.LLM, turns: list[float]) -> Any:
    """An app whose turns are timed."""

    @tl.tool(pure=False)
    async def quick(text: str) -> str:
        await asyncio.sleep(0.3)
        return text[:20]

    @tl.tool(pure=False)
    async def slow(text: str) -> str:
        await asyncio.sleep(3.0)
        return text[:20]

    @tl.app
    async def work(name: str, is_slow: bool) -> str:
        chat = tl.Chat(llm, system=notes_of(name, NUM_FACTS))
        said = "Begin."
        for _ in range(TURNS if is_slow else 2 * TURNS):
            began_s = time.perf_counter()
            said = await chat.ask(said, max_tokens=12)
            turns.append(time.perf_counter() - began_s)
            said = await tl.value(slow(said) if is_slow else quick(said))
        return said

    return work


def run(num_agents: int, **options: Any) -> dict[str, Any]:
    """One row."""
    llm = tl.LLM("local:smollm2-135m", context_len=2048, **options)
    turns: list[float] = []
    work = agents_of(llm, turns)
    asyncio.run(work.arun("nobody", False))  # loads the model, learns how long a quick tool takes
    asyncio.run(work.arun("nobody else", True))
    turns.clear()
    events: list[Event] = []
    before = _stats()

    async def one(number: int) -> str:
        await asyncio.sleep(0.3 * number)
        app = work.using(memo=False, listener=events.append)
        answer: str = await app.arun(f"agent {number}", number % 3 == 0)
        return answer

    async def main() -> list[str]:
        return await asyncio.gather(*map(one, range(num_agents)))

    began_s = time.perf_counter()
    answers = asyncio.run(main())
    took_s = time.perf_counter() - began_s
    after = _stats()
    ends = [event.fields for event in events if event.kind == "end"]
    return {
        "answers": answers,
        "computed": sum(fields["prefill_tokens"] for fields in ends),
        "turn_s": round(statistics.mean(turns), 3),
        "turn_p95_s": round(statistics.quantiles(turns, n=20)[-1], 3),
        "all_s": round(took_s, 1),
        **{name: after[name] - before[name] for name in NAMES},
    }


NAMES = ("num_waits", "expected_reads", "kept_reads", "demoted_pages", "dropped_pages")
NAMES = (*NAMES, "prefetched_pages", "unsaved_pages")


def _stats() -> dict[str, int]:
    """Of the newest LLM."""
    llms = (engine for _, engine in default_runner().engines if isinstance(engine, HasCacheStats))
    *_, newest = llms
    stats = newest.cache_stats()
    return {name: getattr(stats, name) for name in NAMES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=8)
    parser.add_argument("--kv-tokens", type=int, default=2400)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tiers: dict[str, dict[str, Any]] = {
            "none": {},
            "host": {"host_kv_tokens": 32_768},
            "disk": {"disk_kv": folder},
        }
        for tier, of_tier in tiers.items():
            for eviction in ("lru", "next_use"):
                own = dict(of_tier)
                if tier == "disk":
                    own["disk_kv"] = str(Path(folder) / eviction)
                row = run(args.agents, kv_tokens=args.kv_tokens, eviction=eviction, **own)
                rows.append({"tier": tier, "eviction": eviction, **row})
        default_runner().close()
    assert all(row["answers"] == rows[0]["answers"] for row in rows), "an order changed an answer"
    table = Table("tier", "eviction", "computed", "turn", "all", "waits", "prefetched", "kept")
    for row in rows:
        del row["answers"]
        table.add_row(
            row["tier"],
            row["eviction"],
            f"{row['computed']:,}",
            f"{row['turn_s']:.2f}, {row['turn_p95_s']:.2f} s",
            f"{row['all_s']:.1f} s",
            str(row["num_waits"]),
            str(row["prefetched_pages"]),
            f"{row['kept_reads']} of {row['expected_reads']}",
        )
    Console(width=140).print(table)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
