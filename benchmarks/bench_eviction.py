"""Eviction policies on traces: what share of prompts' tokens, and of their seconds, was found.

    python benchmarks/bench_eviction.py [--requests 12031]

The cache is the engine's own (`KVCache`) and computes nothing. `conversation` is Mooncake's trace,
a page a block of 512 tokens. `rag` is skewed as RAGCache reports it (arXiv 2404.12457): 3 % of the
documents are in 60 % of the retrievals, documents differ in length, and a prompt is instructions,
two documents in either order and a question. `chunks` has the same prompts as KV cache fusion keeps
them: each document behind the instructions. Seconds are by the latency model's prior. The last line
is JSON.
"""

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.llm.kv.cache import KVCache
from backends.llm.kv.eviction import POLICIES, EvictionName
from backends.llm.kv.page_table import PageTable
from backends.llm.planner.latency import LatencyModel

CONVERSATION = Path(__file__).parent / "data/mooncake/conversation.csv.gz"
NUM_DOCS, NUM_HOT, HOT_SHARE = 2000, 60, 0.6
Prompt = list[int]  # a number a page; equal beginnings are equal prefixes


def conversation() -> list[list[Prompt]]:
    """Mooncake's requests; block numbers are those of the trace but for their names."""
    found: list[list[Prompt]] = []
    num_blocks = 0
    with gzip.open(CONVERSATION, "rt", encoding="ascii") as lines:
        for row in csv.reader(lines):
            earlier, num_shared, length = map(int, row)
            new = range(num_blocks, num_blocks + length - num_shared)
            shared = found[earlier][0][:num_shared] if num_shared else []
            found.append([[*shared, *new]])
            num_blocks += len(new)
    return found


class Retrievals:
    """Requests over documents, the same for each seed; pages of 16 tokens."""

    def __init__(self, num_requests: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        ends = np.cumsum(np.clip(random.lognormal(2.7, 0.7, NUM_DOCS), 4, 96).astype(int)) + 1000
        self._docs = [list(range(a, b)) for a, b in zip([1000, *ends], ends, strict=False)]
        self._picks = [self._pick(random) for _ in range(num_requests)]
        self._end = int(ends[-1])

    def prompts(self) -> list[list[Prompt]]:
        """A whole prompt each."""
        return [
            [[*range(4), *self._docs[one], *self._docs[other], *self._question(i)]]
            for i, (one, other) in enumerate(self._picks)
        ]

    def chunks(self) -> list[list[Prompt]]:
        """Each document of a prompt behind the instructions."""
        return [[[*range(4), *self._docs[doc]] for doc in pick] for pick in self._picks]

    def _pick(self, random: np.random.Generator) -> tuple[int, ...]:
        picked = dict.fromkeys(self._one(random) for _ in range(8))
        return tuple(picked)[:2]

    def _one(self, random: np.random.Generator) -> int:
        if random.random() < HOT_SHARE:
            return int(random.integers(NUM_HOT))
        return int(random.integers(NUM_HOT, NUM_DOCS))

    def _question(self, number: int) -> range:
        first = self._end + 2 * number
        return range(first, first + 2)


def replay(
    requests: Sequence[Sequence[Prompt]],
    policy: EvictionName,
    num_pages: int,
    page_tokens: int,
) -> tuple[float, float]:
    """Shares of tokens and of seconds that were in the cache when a request came."""
    model = LatencyModel()

    def price(start: int, end: int) -> float:
        return model.prefill_s(start * page_tokens, end * page_tokens)

    cache = KVCache(num_pages, 1, lambda *_: None, policy, price)
    found, found_s, total, total_s = 0, 0.0, 0, 0.0
    for prompts in requests:
        for ids in prompts:
            num_found = serve(cache, ids)
            found, total = found + num_found, total + len(ids)
            found_s, total_s = found_s + price(0, num_found), total_s + price(0, len(ids))
    cache.check_integrity()
    return found / total, found_s / total_s


def serve(cache: KVCache, ids: Prompt) -> int:
    """Pages of the prompt that were there; the others are there then, if they fit."""
    table = PageTable()
    cache.match(table, ids)
    num_found = table.num_computed
    if cache.reserve(table, len(ids)):
        cache.publish(table, ids, len(ids))
        table.num_computed = len(ids)
        cache.settle()
    cache.drop(table)
    return num_found


def traces(num_requests: int) -> Iterator[tuple[str, list[list[Prompt]], int, Sequence[int]]]:
    """Name, requests, tokens of a page, capacities in pages."""
    retrievals = Retrievals(num_requests)
    yield "conversation", conversation()[:num_requests], 512, (1000, 3000, 10_000, 30_000, 50_000)
    yield "rag", retrievals.prompts(), 16, (1000, 2000, 4000, 8000, 16_000)
    yield "chunks", retrievals.chunks(), 16, (500, 1000, 2000, 4000, 8000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=12_031)
    args = parser.parse_args()
    table = Table("trace", "pages", *POLICIES, title="tokens found, and seconds")
    rows: list[dict[str, Any]] = []
    for name, requests, page_tokens, capacities in traces(args.requests):
        for num_pages in capacities:
            shares = {
                policy: replay(requests, policy, num_pages, page_tokens) for policy in POLICIES
            }
            cells = (f"{tokens:.1%}, {seconds:.1%}" for tokens, seconds in shares.values())
            table.add_row(name, str(num_pages), *cells)
            rounded = {policy: [round(x, 4) for x in both] for policy, both in shares.items()}
            rows.append({"trace": name, "pages": num_pages, **rounded})
    Console(width=120).print(table)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
