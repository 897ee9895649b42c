"""What each form of KV in the lower tiers takes and loses: questions over eight passages.

    python benchmarks/bench_tiers.py [--questions 12] [--dtype auto]

All whole pages of a prompt go through a form and back. Loss: mean KL divergence from the next-token
distributions over the untouched KV to those over what came back, at the 16 tokens that the former
writes, and the share of places with the same likeliest token. Speeds are of one thread, in tokens
and in MB of the pool's KV a second, medians. The last line is JSON.
"""

import argparse
import gzip
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.base import Part, Request, Result, Turn
from backends.llm.core import LLMCore
from backends.llm.kv.tiers.page_codec import PageCodec, Quantized, Raw
from backends.llm.kv.tiers.quantizers import QUANTIZERS
from backends.llm.loader import load_core
from backends.llm.model.batch import batch_of
from backends.llm.options import LLMOptions
from backends.models.fetch import locate

DATA = Path(__file__).parent / "data"
NUM_NEW = 16


@dataclass
class Figures:
    """Of one form, an entry a question."""

    kl: list[float] = field(default_factory=list)
    same: list[float] = field(default_factory=list)
    bytes_per_token: list[float] = field(default_factory=list)
    encode_s: list[float] = field(default_factory=list)  # a page
    decode_s: list[float] = field(default_factory=list)


class Runner:
    """Requests of one core, one after another."""

    def __init__(self, core: LLMCore) -> None:
        self.core = core
        self._num_requests = 0

    def run(self, op: str, *inputs: Part | None, **attrs: Any) -> Result:
        self._num_requests += 1
        self.core.add(Request(f"{self._num_requests:032x}", op, inputs, attrs))
        while True:
            for _, outcome in self.core.step():
                assert isinstance(outcome, Result), outcome
                return outcome

    def distributions(self, context: Any, tokens: list[int]) -> torch.Tensor:
        """[N + 1, V] log-probabilities: after the context and each of the tokens behind it."""
        cache, ids = self.core.cache, [context.ids[-1], *tokens]
        table = cache.fork(context.table)
        assert cache.reserve(table, table.num_computed + len(ids)), "the pool is full"
        batch = batch_of(cache.pool.page_size, (ids, table.num_computed, table.pages))
        logits = self.core.model.launch(batch, self.core.kv).collect().logits
        cache.drop(table)
        return torch.tensor(np.asarray(logits)).log_softmax(-1)


def codecs(core: LLMCore) -> dict[str, PageCodec]:
    layout = core.kv.page_layout
    lossy = {name: Quantized(layout, quantizer) for name, quantizer in QUANTIZERS.items()}
    return {"raw": Raw(layout.num_bytes), **lossy}


def through(codec: PageCodec, rows: torch.Tensor, figures: Figures) -> torch.Tensor:
    """Pages [P, bytes] as they come back."""
    back, kept, times = torch.empty_like(rows), [], [time.perf_counter()]
    for row in rows:
        kept.append(codec.encode(row))
        times.append(time.perf_counter())
    figures.encode_s.append(statistics.median(np.diff(times)))
    times = times[-1:]
    for content, row in zip(kept, back, strict=True):
        codec.decode(content, row)
        times.append(time.perf_counter())
    figures.decode_s.append(statistics.median(np.diff(times)))
    figures.bytes_per_token.append(statistics.mean(map(len, kept)))  # of a page yet
    return back


def measure(runner: Runner, case: dict[str, Any], figures: dict[str, Figures]) -> None:
    core = runner.core
    size = core.cache.pool.page_size
    question = "\n\n".join([*case["passages"][:8], f"Question: {case['question']}"])
    context: Any = runner.run("prefill", None, Turn("user"), question, Turn("assistant")).outputs[0]
    answer: Any = runner.run("decode", context, max_tokens=NUM_NEW, ignore_eos=True).outputs[1]
    tokens = answer.ids[context.num_tokens :][: NUM_NEW - 1]
    pages = context.table.pages[: (context.num_tokens - 1) // size]
    exact = runner.distributions(context, tokens)
    rows = core.kv.export_pages(pages)
    for name, codec in codecs(core).items():
        own = figures[name]
        core.kv.import_pages(pages, through(codec, rows, own))
        found = runner.distributions(context, tokens)
        own.kl.append(float((exact.exp() * (exact - found)).sum(-1).mean()))
        own.same.append(float((exact.argmax(-1) == found.argmax(-1)).float().mean()))
        own.bytes_per_token[-1] /= size
    for held in (context, answer):
        held.release()
    core.flush()


def show(figures: dict[str, Figures], page_bytes: int, page_size: int) -> None:
    table = Table(
        "form", "bytes a token", "of raw", "encode", "decode", "KL (95 %)", "same likeliest"
    )
    rows = []
    raw = statistics.mean(figures["raw"].bytes_per_token)
    for name, own in figures.items():
        kl = np.array(own.kl)
        error = 1.96 * kl.std() / len(kl) ** 0.5
        encode_s, decode_s = statistics.median(own.encode_s), statistics.median(own.decode_s)
        row = {
            "form": name,
            "bytes_per_token": round(statistics.mean(own.bytes_per_token)),
            "encode_mb_s": round(page_bytes / encode_s / 1e6)
            if name != "raw"
            else None,  # not at all
            "decode_mb_s": round(page_bytes / decode_s / 1e6),
            "decode_tokens_s": round(page_size / decode_s),
            "kl": round(float(kl.mean()), 5),
            "kl_95": round(float(error), 5),
            "top1": round(statistics.mean(own.same), 3),
        }
        rows.append(row)
        table.add_row(
            name,
            str(row["bytes_per_token"]),
            f"{row['bytes_per_token'] / raw:.2f}",
            f"{row['encode_mb_s']} MB/s, {page_size / encode_s:,.0f} tokens/s"
            if name != "raw"
            else "",
            f"{row['decode_mb_s']} MB/s, {page_size / decode_s:,.0f} tokens/s",
            f"{row['kl']:.4f} +- {row['kl_95']:.4f}",
            f"{row['top1']:.3f}",
        )
    Console(width=140).print(table)
    print(json.dumps(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=12, help="of each of NQ and MuSiQue")
    parser.add_argument("--dtype", default="auto")
    args = parser.parse_args()
    runner = Runner(load_core(locate("smollm2-135m"), LLMOptions(dtype=args.dtype)))
    figures = {name: Figures() for name in codecs(runner.core)}
    for data in ("nq", "musique"):
        with gzip.open(DATA / data / "questions.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in list(lines)[: args.questions]:
                measure(runner, json.loads(line), figures)
    layout = runner.core.kv.page_layout
    show(figures, layout.num_bytes, layout.shape[0])


if __name__ == "__main__":
    main()
