"""teola's embedded engine as a benchmark worker: python teola_worker.py '{"dtype": "auto"}'."""

import asyncio
import json
import os
import resource
import sys
import time
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backends.base import Engine, Request, Tokens
from backends.llm.factory import create


async def main(options: dict[str, Any]) -> None:
    engine = create("llm", "local:smollm2-135m", options)
    await engine.start()
    load_s = since_process_start_s()
    model = engine._core.model  # type: ignore[attr-defined]
    say(
        load_s=load_s,
        dtype=numerics(options),
        model=type(model).__name__,
        weight_mb=getattr(model, "weight_bytes", 0) / 1e6,
    )
    try:
        await serve(engine)
    finally:
        await engine.close()


def numerics(options: dict[str, Any]) -> str:
    """How products are computed: float32, bfloat16 or int8. Imported here, so that loading pays for
    what it imports itself."""
    from backends.llm.loader import numerics_of, open_model
    from backends.llm.options import LLMOptions
    from backends.models.fetch import locate

    found = open_model(locate("smollm2-135m"))
    return numerics_of(found, LLMOptions(**options), "cpu")


def since_process_start_s() -> float:
    """As llama.cpp's is counted: with the interpreter and all imports."""
    fields = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # since the machine was booted
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s


async def serve(engine: Engine) -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        requests = [
            Request(
                uuid.uuid4().hex,
                "decode",
                (None, Tokens(tuple(ids))),
                {"max_tokens": asked["new"], "ignore_eos": True},
            )
            for ids in asked["prompts"]
        ]
        began = time.perf_counter()
        outcomes = await engine.execute(requests)
        seconds = time.perf_counter() - began
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        say(
            s=seconds,
            tokens=sum(outcome.usage.decode_tokens for outcome in outcomes),  # type: ignore[union-attr]
            peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )


def say(**fields: Any) -> None:
    print("@" + json.dumps(fields), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}))
