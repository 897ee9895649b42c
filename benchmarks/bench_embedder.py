"""The embedder on real passages: the C++ kernels in each dtype, torch and onnxruntime, interleaved.

    python benchmarks/bench_embedder.py [--rounds 5] [--threads N] [--isa avx2] [--passages N]
        [--only NAME ..] [--corpus FILE --queries FILE] [--onnx-folder FOLDER] [--cpu-time]

The passages are those of `samples/advanced_rag.py` (about 100); a round embeds them all with each
encoder, then single questions one by one. Seconds are medians of rounds; ratios are medians of the
ratios of a round. `--cpu-time` counts the process's CPU seconds instead of the clock's: with one
thread it is fair on a busy machine too. The quality columns compare with the first encoder, torch
in float32: the least cosine, and how many of the passages' sentences, taken as queries, find the
same ten passages. `--corpus` and `--queries` (JSON lines with `text` and `question`, .gz too) give
quality other texts, and no speed is measured then.

onnxruntime runs where the package `onnx` is installed: the same model, its graph fused for BERT, in
float32 and dynamic int8, in the batch size that is fastest here. `--isa` limits our kernels and
torch to an instruction set; onnxruntime has no switch for that and keeps what the CPU has.
The last line is JSON.
"""

import argparse
import functools
import gzip
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
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
from backends.native.build import build
from backends.native.library import library
from backends.tools.load import load
from backends.tools.split import split

MODEL = "local:all-minilm-l6-v2"
DOCUMENTS = [str(ROOT / "samples/data/sqlite")]
QUESTIONS = [
    json.loads(line)["question"]
    for line in (ROOT / "samples/data/questions.jsonl").read_text(encoding="utf-8").splitlines()
]
NUM_QUERIES = 400
LIMITS = {  # of torch: its own kernels, oneDNN and MKL
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "avxvnni": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2_VNNI",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}

Embed = Callable[[Sequence[str]], np.ndarray]  # texts -> unit vectors [N, H]


def encoders(threads: int, only: Sequence[str], onnx_folder: Path) -> dict[str, Embed]:
    """Those that run here; torch first, the others are compared with it."""
    wanted: dict[str, dict[str, str]] = {"torch": {"kernels": "torch"}}
    if library() is not None:
        for dtype in ("float32", "bfloat16", "int16"):
            wanted[f"native {dtype}"] = {"kernels": "native", "dtype": dtype}
    made = {
        name: _own(BertOptions(device="cpu", threads=threads, **options))  # type: ignore[arg-type]
        for name, options in wanted.items()
        if not only or name in only
    }
    if find_spec("onnx") is None:
        return made
    names = [name for name in ("float32", "int8") if not only or f"onnxruntime {name}" in only]
    return made | (_onnx(threads, names, onnx_folder) if names else {})


def _own(options: BertOptions) -> Embed:
    passes = Passes(EmbedRunner(load_encoder(resolve(MODEL), options)))
    return lambda texts: embed(passes, texts)


def _onnx(threads: int, names: Sequence[str], to: Path) -> dict[str, Embed]:
    from benchmarks.onnx_embedder import OnnxEncoder, export

    folder = resolve(MODEL)
    models = export(folder, to)
    passages = split_samples()
    made = {}
    for name in names:
        encoder = OnnxEncoder(folder, models[name], threads)
        encoder.tune(passages[:12])
        made[f"onnxruntime {name}"] = encoder.embed
    return made


def embed(encoder: Passes[Any, Any], texts: Sequence[str]) -> np.ndarray:
    """Unit vectors [N, H]."""
    (outcome,) = encoder.run([Request("embed", "embed", (list(texts),))])
    assert isinstance(outcome, Result), outcome
    return np.asarray(outcome.outputs[0])


@functools.cache
def split_samples() -> list[str]:
    return [doc.text for doc in split(load(DOCUMENTS), chunk_tokens=200, overlap=30)]


def sentences(passages: Sequence[str]) -> list[str]:
    found = (part.strip() for text in passages for part in re.split(r"(?<=[.?!])\s+", text))
    return list(dict.fromkeys(part for part in found if 20 < len(part) < 200))[:NUM_QUERIES]


def measure(
    made: dict[str, Embed],
    passages: Sequence[str],
    rounds: int,
    clock: Callable[[], float],
) -> dict[str, dict[str, list[float]]]:
    """Seconds a round: of all passages, and of a question alone."""
    seconds: dict[str, dict[str, list[float]]] = {n: {"all": [], "one": []} for n in made}
    for _ in range(rounds):
        for name, encoder in made.items():
            began = clock()
            encoder(passages)
            seconds[name]["all"].append(clock() - began)
            began = clock()
            for question in QUESTIONS:
                encoder([question])
            seconds[name]["one"].append((clock() - began) / len(QUESTIONS))
    return seconds


def quality(
    made: dict[str, Embed], passages: Sequence[str], queries: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Against the first."""
    vectors = {name: (encoder(passages), encoder(queries)) for name, encoder in made.items()}
    exact = next(iter(vectors.values()))
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


def speed(made: dict[str, Embed], passages: Sequence[str], args: Any) -> dict[str, dict[str, Any]]:
    clock = time.process_time if args.cpu_time else time.perf_counter
    num_tokens = _num_tokens(passages)
    for encoder in made.values():
        encoder(passages[:8])
    seconds = measure(made, passages, args.rounds, clock)
    first = next(iter(seconds.values()))
    rows = {}
    for name, each in seconds.items():
        median = statistics.median(each["all"])
        rows[name] = {
            "texts_s": round(len(passages) / median, 1),
            "tokens_s": round(num_tokens / median),
            "question_ms": round(1e3 * statistics.median(each["one"]), 2),
            "speedup": round(_ratio(first["all"], each["all"]), 2),
            "question_speedup": round(_ratio(first["one"], each["one"]), 2),
        }
    return rows


def read_lines(path: Path, field: str) -> list[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)[field] for line in lines]


def _num_tokens(passages: Sequence[str]) -> int:
    return sum(map(len, load_encoder(resolve(MODEL), BertOptions(device="cpu")).read(passages)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--isa")
    parser.add_argument("--passages", type=int)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--num-queries", type=int, default=NUM_QUERIES)
    parser.add_argument("--onnx-folder", type=Path, default=ROOT / "build/onnx")
    parser.add_argument("--cpu-time", action="store_true")
    return parser.parse_args()


def _limit(isa: str | None) -> None:
    """Libraries read these when they load: so the script starts again."""
    if isa and os.environ.get("TEOLA_ISA") != isa:
        limits = {"TEOLA_ISA": isa, **LIMITS.get(isa, {})}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **limits})


def main() -> None:
    args = _arguments()
    _limit(args.isa)
    made = encoders(args.threads, args.only, args.onnx_folder)
    if args.corpus:
        passages = read_lines(args.corpus, "text")[: args.passages]
        queries = read_lines(args.queries, "question")[: args.num_queries]
        rows = quality(made, passages, queries)
    else:
        passages = split_samples()[: args.passages]
        queries = [*QUESTIONS, *sentences(passages)][: args.num_queries]
        rows = speed(made, passages, args)
        for name, row in quality(made, passages, queries).items():
            rows[name] |= row
    _show(rows, f"{len(passages)} passages, {len(queries)} queries, {args.threads} threads")
    settings = {
        "model": MODEL,
        "isa": build().isa,
        "passages": len(passages),
        "queries": len(queries),
        "threads": args.threads,
        "torch_threads": torch.get_num_threads(),
        "clock": "cpu" if args.cpu_time else "wall",
        "rounds": args.rounds,
    }
    print(json.dumps({**settings, "encoders": rows}))


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
