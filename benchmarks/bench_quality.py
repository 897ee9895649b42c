"""What the engine's lossy settings cost: perplexity on fixed text, against float32.

    python benchmarks/bench_quality.py [--tokens 8192]

Windows of 1,024 tokens of the sample documents; each setting sees the same windows. `agree` is the
share of positions whose most likely token is the one of float32. Last line: one JSON object.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.llm.loader import load_model, open_model
from backends.llm.model.batch import batch_of
from backends.llm.options import LLMOptions
from backends.models.fetch import locate
from benchmarks.engine_rows import text_ids

WINDOW = 1024
SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32"},
    "bfloat16, weights full": {"dtype": "bfloat16", "weights": "full"},
    "bfloat16, weights stored": {"dtype": "bfloat16", "weights": "stored"},
    "int8": {"dtype": "int8"},
}


def logits_of(model: Any, ids: list[int]) -> torch.Tensor:
    """[T, V] of a text's tokens."""
    pages = -(-len(ids) // 16)
    batch = batch_of(16, (ids, 0, list(range(pages))))
    logits = model.launch(batch, model.make_pool(pages, 16)).collect().logits
    return torch.as_tensor(logits).clone()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=8192)
    args = parser.parse_args()
    ids = text_ids()[: args.tokens]
    windows = [ids[i : i + WINDOW] for i in range(0, len(ids) - WINDOW + 1, WINDOW)]
    found = open_model(locate("smollm2-135m"))
    models = {
        name: load_model(found, LLMOptions(**options), torch.device("cpu"))
        for name, options in SETTINGS.items()
    }
    losses: dict[str, list[float]] = {name: [] for name in models}
    divergences: dict[str, list[float]] = {name: [] for name in models}
    agreed = dict.fromkeys(models, 0)
    for window in windows:
        targets = torch.tensor(window[1:])
        exact: torch.Tensor | None = None
        for name, model in models.items():
            logs = logits_of(model, window)[:-1].log_softmax(-1)
            exact = logs if exact is None else exact
            losses[name].append(-logs.gather(1, targets[:, None]).mean().item())
            divergences[name].append((exact.exp() * (exact - logs)).sum(-1).mean().item())
            agreed[name] += int((logs.argmax(-1) == exact.argmax(-1)).sum())
    total = len(windows) * (WINDOW - 1)
    summary = {
        name: {
            "perplexity": round(float(np.exp(np.mean(losses[name]))), 4),
            "kl": round(float(np.mean(divergences[name])), 6),
            "agree": round(agreed[name] / total, 4),
        }
        for name in models
    }
    for name, result in summary.items():
        print(f"{name:28} {result}")
    print(json.dumps({"tokens": total, **summary}))


if __name__ == "__main__":
    main()
