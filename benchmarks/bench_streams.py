"""What streaming costs: tokens a second of many streams beside the engine alone.

    python benchmarks/bench_streams.py [--streams 200] [--new 128] [--trials 3]

The same prompts go to the embedded engine in a process of its own, all at once, and to `teola
serve-engine` as so many concurrent streams, in turn within one run. Both decode greedily past any
end of text. The clients read on the same machine: their cost is in the server's figure. The last
line is one JSON object.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.engine_rows import DECODE_PROMPT_LEN, Prompts, Worker, ending, text_ids

PEERS = Path(__file__).parent / "peers"
TARGET = 0.9


def workers(streams: int, new: int) -> list[Worker]:
    """The engine, and the same engine behind the server."""
    kv_tokens = streams * (DECODE_PROMPT_LEN + new + 64)
    options = {"kv_tokens": kv_tokens}
    alone = [sys.executable, str(PEERS / "teola_worker.py"), json.dumps(options)]
    behind = [sys.executable, str(PEERS / "served_worker.py"), "local:smollm2-135m"]
    return [
        Worker("engine", alone),
        Worker("streams", [*behind, "--option", f"kv_tokens={kv_tokens}"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--new", type=int, default=128, help="tokens of each stream")
    parser.add_argument("--trials", type=int, default=3)
    args = parser.parse_args()
    engines = workers(args.streams, args.new)
    rates: dict[str, list[float]] = {engine.name: [] for engine in engines}
    prompts = Prompts(text_ids())
    with ending(engines):
        for engine in engines:
            engine.start()
        for trial in range(args.trials + 1):
            asked = [prompts.take(DECODE_PROMPT_LEN) for _ in range(args.streams)]
            for engine in engines if trial % 2 else engines[::-1]:
                with engine:
                    seconds = engine.generate(asked, args.new)
                if trial:  # the first only warms up
                    rates[engine.name].append(args.streams * args.new / seconds)
    ratios = [b / a for a, b in zip(rates["engine"], rates["streams"], strict=True)]
    report(rates, statistics.median(ratios))


def report(rates: dict[str, list[float]], ratio: float) -> None:
    table = Table("", "tokens/s, each trial", "median")
    found = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        table.add_row(name, " ".join(f"{value:.0f}" for value in values), f"{found[name]:.0f}")
    console = Console()
    console.print(table)
    said = "met" if ratio >= TARGET else "missed"
    console.print(f"streams beside the engine alone: {ratio:.2f}x (target {TARGET}x: {said})")
    print(json.dumps({**{k: round(v, 1) for k, v in found.items()}, "ratio": round(ratio, 3)}))


if __name__ == "__main__":
    main()
