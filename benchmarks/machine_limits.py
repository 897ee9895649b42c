"""The machine's limits for one instruction set: multiply-adds a second and bytes read a second.

    python benchmarks/machine_limits.py [--isa avx2]

Compiles `limits.cpp` (registers only, and a read of 256 MB a thread) and runs it on all usable
cores. The last line is one JSON object.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.cpu_count import usable_cores
from backends.llm.model.config import ModelConfig
from backends.native.instruction_sets import isas_here, set_here

SOURCE = Path(__file__).with_name("limits.cpp")


@dataclass(frozen=True, slots=True)
class Limits:
    float32_gflop_s: float
    bfloat16_gflop_s: float  # 0: no such products
    int8_gop_s: float
    read_gb_s: float


def measure(isa: str) -> Limits:
    """Raises RuntimeError where `limits.cpp` cannot be compiled or run."""
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "limits")
        flags = ("-O2", "-std=c++20", "-w", *set_here(isa).flags)
        _checked(["g++", *flags, "-o", program, str(SOURCE), "-lpthread"])
        return Limits(**json.loads(_checked([program, str(usable_cores())])))


def least_seconds(
    config: ModelConfig, limits: Limits, dtype: str, weight_bytes: float
) -> dict[str, float]:
    """What each row's tokens need at least: products at the peak of their type, attention at the
    peak of bfloat16 (float32 where there is none), weights and keys read once a step."""
    rate = limits.int8_gop_s if dtype == "int8" else limits.bfloat16_gflop_s
    products_s = 1e-9 / (rate or limits.float32_gflop_s)
    attention_s = 1e-9 / (limits.bfloat16_gflop_s or limits.float32_gflop_s)
    linear, head = _multiply_adds(config)
    read_s = weight_bytes / (limits.read_gb_s * 1e9)

    def prefill(first: int, last: int) -> float:
        keys = (last * last - first * first) / 2
        attention = 4 * keys * config.num_heads * config.head_dim * config.num_layers
        work_s = (2 * linear * (last - first) + 2 * head) * products_s + attention * attention_s
        return max(work_s, read_s)

    def decode(batch: int) -> float:
        return max(2 * (linear + head) * batch * products_s, read_s)

    seconds = {f"prefill_{n}_tok_s": prefill(0, n) / n for n in (1024, 2048)}
    seconds |= {f"decode_{n}_tok_s": decode(n) / n for n in (1, 8, 32)}
    return {**seconds, "ttft_cached_s": prefill(960, 1024)}


def shares(
    config: ModelConfig, limits: Limits, facts: dict[str, object], rows: dict[str, float]
) -> dict[str, float]:
    """Of the machine's limit, row by row; `facts`: what the worker says of its model."""
    dtype, weight_mb = str(facts["dtype"]), float(str(facts["weight_mb"]))
    least = least_seconds(config, limits, dtype, weight_mb * 1e6)
    return {
        row: s / rows[row] if row.endswith("_s") and not row.endswith("tok_s") else s * rows[row]
        for row, s in least.items()
    }


def _multiply_adds(config: ModelConfig) -> tuple[int, int]:
    """Of a token in all layers, and in lm_head."""
    heads = config.num_heads + 2 * config.num_kv_heads
    layer = config.hidden_size * heads * config.head_dim
    layer += config.num_heads * config.head_dim * config.hidden_size
    layer += 3 * config.hidden_size * config.intermediate_size
    return layer * config.num_layers, config.hidden_size * config.vocab_size


def _checked(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr[-400:]}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", default=isas_here()[0], choices=isas_here())
    limits = measure(parser.parse_args().isa)
    print(json.dumps({name: getattr(limits, name) for name in Limits.__slots__}))


if __name__ == "__main__":
    main()
