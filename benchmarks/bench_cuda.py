"""Tokens a second of the CUDA path on random weights: prefill, and decode at some batch sizes, with
captured graphs, without, and by the torch model.

    python benchmarks/bench_cuda.py --size 1b --context 1024

Where there is no CUDA device it says so and ends with status 2.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from backends.llm.model.batch import batch_of
from backends.llm.model.config import ModelConfig
from backends.llm.model.weights import expected_shapes

CUDA = torch.device("cuda")
SIZES = {  # layers, hidden, MLP, query heads, KV heads, head size, vocabulary
    "135m": (30, 576, 1536, 9, 3, 64, 49152),
    "1b": (16, 2048, 8192, 32, 8, 64, 128256),
    "8b": (32, 4096, 14336, 32, 8, 128, 128256),
}
PAGE_SIZE = 16
BATCHES = (1, 8, 32)
REPEATS = 20


def config_of(size: str) -> ModelConfig:
    layers, hidden, width, heads, kv_heads, head_dim, vocab = SIZES[size]
    numbers = (layers, hidden, width, heads, kv_heads, head_dim, vocab)
    return ModelConfig(
        *numbers, max_positions=32768, rms_eps=1e-5, rope_theta=500000.0, tied_embeddings=True
    )


def random_weights(config: ModelConfig) -> dict[str, torch.Tensor]:
    generator = torch.Generator(CUDA).manual_seed(0)
    return {
        name: (torch.randn(shape, generator=generator, device=CUDA) * 0.02).bfloat16()
        for name, shape in expected_shapes(config).items()
    }


def make_model(config: ModelConfig, path: str) -> Any:
    from backends.llm.model.cuda.cuda_model import CudaModel
    from backends.llm.model.cuda.runner import StepLimits
    from backends.llm.model.torch_model.llama import LlamaModel

    weights = random_weights(config)
    if path == "torch":
        return LlamaModel(config, weights)
    return CudaModel(config, weights, StepLimits(32, 2048, graphs=path == "graphs"))


def seconds(run: Callable[[], Any]) -> float:
    """The median of some runs, each with its wait."""
    for _ in range(3):
        run()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)


def rows_of(config: ModelConfig, path: str, context: int) -> dict[str, float]:
    """Tokens a second by row."""
    model, pages = make_model(config, path), -(-(context + 1) // PAGE_SIZE)
    pool = model.make_pool(max(BATCHES) * pages, PAGE_SIZE)
    own = [[*range(i * pages, (i + 1) * pages)] for i in range(max(BATCHES))]

    def only_last(batch: Any) -> Any:
        batch.wanted, batch.with_logits = batch.wanted[-1:], batch.with_logits[:0]
        return batch

    def greedy(batch: Any) -> Any:
        batch.with_logits = batch.with_logits[:0]
        return batch

    prompts = [only_last(batch_of(PAGE_SIZE, ([7] * context, 0, mine))) for mine in own]
    for prompt in reversed(prompts):  # the first is measured: the table lists its pages last
        model.launch(prompt, pool).collect()
    rates = {
        f"prefill {context}": context / seconds(lambda: model.launch(prompts[0], pool).collect())
    }
    for size in BATCHES:
        decodes = greedy(batch_of(PAGE_SIZE, *(([9], context, mine) for mine in own[:size])))
        took = seconds(lambda batch=decodes: model.launch(batch, pool).collect())
        rates[f"decode {size}"] = size / took
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=Path(__file__).name)
    parser.add_argument("--size", choices=SIZES, default="1b")
    parser.add_argument("--context", type=int, default=1024)
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("bench_cuda.py needs a CUDA device; torch sees none here")
        raise SystemExit(2)
    config, table = config_of(asked.size), {}
    with torch.inference_mode():
        for path in ("torch", "eager", "graphs"):
            table[path] = rows_of(config, path, asked.context)
            print(
                path, *(f"{row}: {rate:,.0f} tok/s" for row, rate in table[path].items()), sep="  "
            )
    name = torch.cuda.get_device_name()
    print(json.dumps({"bench": "cuda", "device": name, "size": asked.size, "rates": table}))


if __name__ == "__main__":
    main()
