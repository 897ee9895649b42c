"""A process that writes a store; run by test_postgres.py: URL SCHEMA ME."""

import asyncio
import sys

import numpy as np

from backends.base import Request, Result
from backends.documents import Doc
from backends.registry import EngineSpec, create


async def write(url: str, schema: str, me: str) -> None:
    store = create(EngineSpec("store", url, {"schema_name": schema}))
    await store.start()
    for i in range(8):
        docs = [Doc(f"text {i} of {me}", f"{me}.{i}"), Doc(f"shared {me} {i}", "shared")]
        request = Request("0" * 32, "ingest", (docs, np.ones((2, 2), np.float32)))
        (outcome,) = await store.execute([request])
        assert isinstance(outcome, Result), outcome
    await store.close()


asyncio.run(write(*sys.argv[1:]))
