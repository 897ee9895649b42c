"""The embedder on real passages: native float32, native bfloat16 and torch, interleaved.

    python benchmarks/bench_embedder.py [--rounds 5] [--threads N] [--cpu-time]

The passages are those of `samples/advanced_rag.py` (about 100); a round embeds them all with each
encoder, then single questions one by one. Seconds are medians of rounds; ratios are medians of the
ratios of a round. `--cpu-time` counts the process's CPU seconds instead of the clock's: with one
thread it is fair on a busy machine too. The quality rows compare with torch in float32: the least
cosine, and how many of the passages' sentences, taken as queries, find the same ten passages.
The last line is JSON.
"""

import argparse
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from backends.base import Request, Result
from backends.bert.forward_passes import Passes
from backends.bert.options import BertOptions
from backends.embedder.encoder import load_encoder
from backends.embedder.runner import EmbedRunner
from backends.models.fetch import resolve
from backends.native.library import has_bfloat16, library
from backends.tools.load import load
from backends.tools.split import split

MODEL = "local:all-minilm-l6-v2"
DOCUMENTS = [str(ROOT / "samples/data/sqlite")]
QUESTIONS = [
    json.loads(line)["question"]
    for line in (ROOT / "samples/data/questions.jsonl").read_text(encoding="utf-8").splitlines()
]
NUM_QUERIES = 400


def encoders(threads: int) -> dict[str, Passes[Any, Any]]:
    """Those that run here; torch first, the others are compared with it."""
    wanted = {"torch": {"kernels": "torch"}}
    if library() is not None:
        wanted["native float32"] = {"kernels": "native", "dtype": "float32"}
    if has_bfloat16():
        wanted["native bfloat16"] = {"kernels": "native", "dtype": "bfloat16"}
    return {
        name: _encoder(BertOptions(device="cpu", threads=threads, **options))  # type: ignore[arg-type]
        for name, options in wanted.items()
    }


def _encoder(options: BertOptions) -> Passes[Any, Any]:
    return Passes(EmbedRunner(load_encoder(resolve(MODEL), options)))


def embed(encoder: Passes[Any, Any], texts: Sequence[str]) -> np.ndarray:
    """Unit vectors [N, H]."""
    (outcome,) = encoder.run([Request("embed", "embed", (list(texts),))])
    assert isinstance(outcome, Result), outcome
    return np.asarray(outcome.outputs[0])


def sentences(passages: Sequence[str]) -> list[str]:
    found = (part.strip() for text in passages for part in re.split(r"(?<=[.?!])\s+", text))
    return list(dict.fromkeys(part for part in found if 20 < len(part) < 200))[:NUM_QUERIES]


def measure(
    passes: dict[str, Passes[Any, Any]],
    passages: Sequence[str],
    rounds: int,
    clock: Callable[[], float],
) -> dict[str, dict[str, list[float]]]:
    """Seconds a round: of all passages, and of a question alone."""
    seconds: dict[str, dict[str, list[float]]] = {n: {"all": [], "one": []} for n in passes}
    for _ in range(rounds):
        for name, encoder in passes.items():
            began = clock()
            embed(encoder, passages)
            seconds[name]["all"].append(clock() - began)
            began = clock()
            for question in QUESTIONS:
                embed(encoder, [question])
            seconds[name]["one"].append((clock() - began) / len(QUESTIONS))
    return seconds


def quality(passes: dict[str, Passes[Any, Any]], passages: Sequence[str]) -> dict[str, Any]:
    queries = [*QUESTIONS, *sentences(passages)]
    vectors = {name: (embed(e, passages), embed(e, queries)) for name, e in passes.items()}
    exact = vectors["torch"]
    wanted = _tops(*exact)
    return {
        name: {
            "min_cosine": round(
                float(min((a * b).sum(1).min() for a, b in zip(exact, own, strict=True))), 7
            ),
            "same_top_10": round(sum(map(set.__eq__, _tops(*own), wanted)) / len(queries), 4),
        }
        for name, own in vectors.items()
    }


def _tops(passages: np.ndarray, queries: np.ndarray) -> list[set[int]]:
    return [set(row[:10].tolist()) for row in np.argsort(-(queries @ passages.T), axis=1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cpu-time", action="store_true")
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    passages = [doc.text for doc in split(load(DOCUMENTS), chunk_tokens=200, overlap=30)]
    passes = encoders(args.threads)
    num_tokens = sum(
        map(len, load_encoder(resolve(MODEL), BertOptions(device="cpu")).read(passages))
    )
    for encoder in passes.values():
        embed(encoder, passages[:8])
    seconds = measure(passes, passages, args.rounds, clock)
    found = quality(passes, passages)
    rows = {}
    for name, each in seconds.items():
        median = statistics.median(each["all"])
        rows[name] = {
            "texts_s": round(len(passages) / median, 1),
            "tokens_s": round(num_tokens / median),
            "question_ms": round(1e3 * statistics.median(each["one"]), 2),
            "speedup": round(_ratio(seconds["torch"]["all"], each["all"]), 2),
            "question_speedup": round(_ratio(seconds["torch"]["one"], each["one"]), 2),
            **found[name],
        }
    _show(rows, f"{len(passages)} passages, {num_tokens} tokens, {args.threads} threads")
    print(
        json.dumps(
            {
                "model": MODEL,
                "passages": len(passages),
                "tokens": num_tokens,
                "threads": args.threads,
                "torch_threads": torch.get_num_threads(),
                "clock": "cpu" if args.cpu_time else "wall",
                "rounds": args.rounds,
                "encoders": rows,
            }
        )
    )


def _ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def _show(rows: dict[str, dict[str, Any]], title: str) -> None:
    table = Table(title=title)
    for column in ("encoder", *next(iter(rows.values()))):
        table.add_column(column, justify="left" if column == "encoder" else "right")
    for name, row in rows.items():
        table.add_row(name, *map(str, row.values()))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
