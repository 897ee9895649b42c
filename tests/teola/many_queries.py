"""Runs queries side by side on an embedded engine, in rounds, and prints the resident memory.

    python many_queries.py MODEL_FOLDER QUERIES ROUNDS

One JSON object: MiB before, at the most, and after each round.
"""

import asyncio
import gc
import json
import sys
from pathlib import Path

import teola as tl

FOLDER, QUERIES, ROUNDS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

llm = tl.LLM(f"local:{FOLDER}", dtype="float32", kv_tokens=8192, max_running=16, threads=1)


@tl.prompt(llm, max_tokens=4)
def summary(text: str) -> str:
    return f"Sum up: {text}"


@tl.prompt(llm, max_tokens=4)
def combine(texts: str) -> str:
    return f"Combine: {texts}"


@tl.app
def map_reduce(texts: list[str]) -> str:
    return combine(tl.join(tl.map(summary, texts)))


def resident_mib(name: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


async def run(number: int) -> None:
    texts = [f"{number} {item} " * 10 for item in range(2)]
    await map_reduce.using(memo=False).arun(texts)


async def main() -> None:
    await asyncio.gather(*(run(number) for number in range(8)))  # loads, and fills caches
    gc.collect()
    before = resident_mib("VmRSS")
    after = []
    for each in range(1, ROUNDS + 1):
        await asyncio.gather(*(run(each * 10_000 + number) for number in range(QUERIES)))
        gc.collect()
        after.append(resident_mib("VmRSS"))
    print(json.dumps({"before": before, "most": resident_mib("VmHWM"), "after": after}))


asyncio.run(main())
