"""Parrot's case of map-reduce (OSDI'24, figure 14): its apps, and the engine beside it.

One document of some 14 parts of 1,024 tokens, each summarized in 25 to 100 tokens, then the
summaries; one query after another on an A100 with LLaMA 13B. To an engine that sees single requests
each of them may be somebody's chat. So it keeps the time of a token low (about 40 ms) and holds
4,096 tokens at once, by the paper; two requests of 1,024 tokens, by the notes of its artifact.
"""

from collections.abc import Mapping
from typing import Any

import teola as tl
from samples.advanced_rag import llm

OUTPUT_TOKENS = (25, 50, 75, 100)
NAMES = {num_tokens: f"parrot_{num_tokens}" for num_tokens in OUTPUT_TOKENS}
LATENCY_CAPACITY = 4096  # tokens of KV, of prompts and outputs


def _app(num_tokens: int) -> Any:
    @tl.app
    def map_reduce(files: list[str]) -> str:
        parts = tl.split(tl.load(files), chunk_tokens=1024, overlap=0)
        return tl.synthesize(
            llm,
            None,
            parts,
            mode="map_reduce",
            part_tokens=num_tokens,
            max_tokens=num_tokens,
        )

    return map_reduce


PARROT: Mapping[str, Any] = {name: _app(num_tokens) for num_tokens, name in NAMES.items()}
