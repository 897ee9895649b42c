"""What an engine benchmark measures, the same for every engine.

An engine is a worker process: a JSON line in, {"prompts": [[token ids]], "new": n}, makes it
generate n tokens greedily for all prompts at once, past any end of text; the JSON line out has the
seconds from start to last token, the tokens generated and the peak memory so far. Rates come from
totals alone, so no engine's own clock is trusted:

    prefill        prompt tokens / seconds with 1 new token
    decode         batch * (n - 1) / (seconds with n new tokens - seconds with 1)
    cached TTFT    seconds with 1 new token, 960 of the 1,024 prompt tokens having run before

Prompts are pieces of real text and share no prefix unless a row says so.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NEW_TOKENS = 128
DECODE_PROMPT_LEN = 64
ROWS = (
    "prefill_1024_tok_s",
    "prefill_2048_tok_s",
    "decode_1_tok_s",
    "decode_8_tok_s",
    "decode_32_tok_s",
    "ttft_cached_s",
)
FALLS = frozenset(("ttft_cached_s", "load_s", "peak_rss_mb"))  # less is better


class Prompts:
    """Token ids of real text, every prompt another stretch of it."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = list(ids)
        self._at = 0

    def take(self, length: int) -> list[int]:
        self._at += 37  # a new start: no prompt begins like another
        begin = self._at % (len(self._ids) - length)
        self._at += length
        return self._ids[begin : begin + length]


def text_ids() -> list[int]:
    """The sample documents as tokens of the default model."""
    from backends.llm.loader import open_model
    from backends.models import locate

    folder = ROOT / "samples/data"
    files = sorted(folder.glob("sqlite/*.md")) + sorted(folder.glob("web/*.md"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return open_model(locate("smollm2-135m")).tokenizer.encode_text(text)


@dataclass
class Worker:
    """An engine in a process of its own."""

    name: str
    command: list[str]
    env: dict[str, str] | None = None
    rows: dict[str, list[float]] = field(default_factory=dict)
    load_s: float = 0.0
    peak_rss_mb: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    def start(self, timeout_s: float = 900) -> None:
        began = time.perf_counter()
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
            env=self.env,
            start_new_session=True,
        )
        ready = self._read(began + timeout_s)
        self.load_s = ready.pop("load_s", time.perf_counter() - began)
        self.facts = ready
        self._signal(signal.SIGSTOP)

    def generate(self, prompts: list[list[int]], new: int) -> float:
        """Seconds; raises RuntimeError when fewer tokens came out than were asked for."""
        assert self._process.stdin is not None, "not started"
        self._process.stdin.write(json.dumps({"prompts": prompts, "new": new}) + "\n")
        self._process.stdin.flush()
        answer = self._read(time.perf_counter() + 600)
        if answer["tokens"] != new * len(prompts):
            wanted = new * len(prompts)
            raise RuntimeError(f"{self.name} gave {answer['tokens']} tokens, not {wanted}")
        self.peak_rss_mb = max(self.peak_rss_mb, answer["peak_rss_mb"])
        return float(answer["s"])

    def __enter__(self) -> "Worker":
        """Between measurements an engine is stopped, so that none spins beside another's turn."""
        self._signal(signal.SIGCONT)
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def stop(self) -> None:
        self._signal(signal.SIGCONT)
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _read(self, until: float) -> dict[str, Any]:
        assert self._process.stdout is not None, "not started"
        for line in self._process.stdout:  # engines print what they like: only our lines count
            if line.startswith("@"):
                answer: dict[str, Any] = json.loads(line[1:])
                return answer
            if time.perf_counter() > until:
                break
        raise RuntimeError(f"{self.name} stopped answering")


def measure(worker: Worker, row: str, prompts: Prompts) -> float:
    """One figure of one row."""
    if row.startswith("prefill"):
        length = int(row.split("_")[1])
        return length / worker.generate([prompts.take(length)], 1)
    if row.startswith("decode"):
        batch = int(row.split("_")[1])
        first = worker.generate([prompts.take(DECODE_PROMPT_LEN) for _ in range(batch)], 1)
        both = worker.generate([prompts.take(DECODE_PROMPT_LEN) for _ in range(batch)], NEW_TOKENS)
        return batch * (NEW_TOKENS - 1) / (both - first)
    shared = prompts.take(960)
    worker.generate([shared + prompts.take(64)], 1)
    return worker.generate([shared + prompts.take(64)], 1)


def interleave(workers: Sequence[Worker], prompts: Prompts, trials: int) -> Iterator[str]:
    """Fill `rows` of all workers, engines in turn and in changing order; yields what was done. The
    first round only warms up."""
    for trial in range(trials + 1):
        for row in ROWS:
            for worker in workers if trial % 2 else list(reversed(workers)):
                with worker:
                    value = measure(worker, row, prompts)
                if trial:
                    worker.rows.setdefault(row, []).append(value)
            yield f"trial {trial}/{trials} {row}"


def medians(worker: Worker) -> dict[str, float]:
    found = {row: statistics.median(values) for row, values in worker.rows.items()}
    return {**found, "load_s": worker.load_s, "peak_rss_mb": worker.peak_rss_mb}
