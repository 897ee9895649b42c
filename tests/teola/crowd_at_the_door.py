"""Starts queries on an embedded engine all at once, more than its door lets in, and says what
became of them.

    python crowd_at_the_door.py MODEL_FOLDER QUERIES MOST_WAITING

One JSON object: outcomes, MiB before and at the most, and what is left at the engine.
"""

import asyncio
import gc
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import teola as tl
from backends.llm.engine import LLMEngine
from teola.runner import default_runner

FOLDER, QUERIES, MOST_WAITING = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

llm = tl.LLM(
    f"local:{FOLDER}",
    dtype="float32",
    kv_tokens=8192,
    max_running=32,
    threads=1,
    max_waiting=MOST_WAITING,
)


@tl.prompt(llm, max_tokens=2)
def answer(text: str) -> str:
    return f"Say: {text}"


@tl.app
def ask(text: str) -> str:
    return answer(text)


def resident_mib(name: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


async def outcome(number: int) -> str:
    try:
        return type(await ask.using(memo=False).arun(f"{number}")).__name__
    except tl.errors.EngineOverloaded as error:
        return "refused" if error.retry_after_s else "refused without a time"
    except Exception as error:  # what a test is to see
        return repr(error)


async def main() -> dict[str, Any]:
    await asyncio.gather(*(outcome(number) for number in range(100)))  # loads, and fills caches
    gc.collect()
    before = resident_mib("VmRSS")
    outcomes = Counter(await asyncio.gather(*(outcome(1000 + n) for n in range(QUERIES))))
    late = await outcome(0)
    (engine,) = [one for _, one in default_runner().engines if isinstance(one, LLMEngine)]
    stats = engine.cache_stats()
    held = stats.num_pages - stats.free_pages - stats.tree_pages
    memory = {"before": before, "most": resident_mib("VmHWM")}
    return {"outcomes": outcomes, "late": late, "held_pages": held, **memory}


print(json.dumps(asyncio.run(main())))
