"""What an engine benchmark measures, the same for every engine.

An engine is a worker process: a JSON line in, {"prompts": [[token ids]], "new": n}, makes it
generate n tokens greedily for all prompts at once, past any end of text; the JSON line out has the
seconds from start to last token, the tokens generated and the peak memory so far. Rates come from
totals alone, so no engine's own clock is trusted:

    prefill        prompt tokens / seconds with 1 new token
    decode         batch * (n - 1) / (seconds with n new tokens - seconds with 1)
    cached TTFT    seconds with 1 new token, 960 of the 1,024 prompt tokens having run before

Prompts are pieces of real text, no two with the same first 16 tokens unless a row says so, and
every engine gets the same ones. A worker that fails is ended and left out; the others go on.
"""

import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NEW_TOKENS = 128
DECODE_PROMPT_LEN = 64
HEAD = 16  # tokens by which prompts differ: at most a page of any engine's prefix cache
ROWS = (
    "prefill_1024_tok_s",
    "prefill_2048_tok_s",
    "decode_1_tok_s",
    "decode_8_tok_s",
    "decode_32_tok_s",
    "ttft_cached_s",
)
FALLS = frozenset(("ttft_cached_s", "load_s", "peak_rss_mb"))  # less is better

Call = tuple[list[list[int]], int]  # prompts that run at once, new tokens of each


class Prompts:
    """Token ids of real text, every prompt another stretch of it.

    Stretches follow each other; past the end of the text they start over between the starts used
    before. A start whose first tokens began an earlier prompt is passed over.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = list(ids)
        self._at = 0
        self._taken = 0
        self._heads: set[tuple[int, ...]] = set()

    def take(self, length: int) -> list[int]:
        starts = len(self._ids) - length + 1
        for step in range(starts):
            begin = (self._at + step) % starts
            prompt = self._ids[begin : begin + length]
            head = tuple(prompt[:HEAD])
            if head not in self._heads:
                self._heads.add(head)
                self._taken += 1
                assert len(self._heads) == self._taken, "two prompts begin alike"
                self._at = begin + length
                return prompt
        raise RuntimeError(f"the text has no unused start for {length} more tokens: fewer trials")


def text_ids() -> list[int]:
    """The sample documents as tokens of the default model, SQLite's documentation first."""
    from backends.llm.loader import open_model
    from backends.models.fetch import locate

    folder = ROOT / "samples/data"
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("sqlite/*.md"))]
    for line in (folder / "web/pages.jsonl").read_text(encoding="utf-8").splitlines():
        page = json.loads(line)
        texts.append(f"{page['title']}\n{page['text']}")
    texts += [path.read_text(encoding="utf-8") for path in sorted(folder.glob("qmsum/*.txt"))]
    return open_model(locate("smollm2-135m")).tokenizer.encode_text("\n".join(texts))


@dataclass
class Worker:
    """An engine in a process of its own, with its children in one process group."""

    name: str
    command: list[str]
    env: dict[str, str] | None = None
    rows: dict[str, list[float]] = field(default_factory=dict)
    load_s: float = 0.0
    peak_rss_mb: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None
    answer_timeout_s: float = 600
    _process: subprocess.Popen[str] | None = field(default=None, init=False, repr=False)
    _lines: queue.SimpleQueue[str | None] = field(init=False, repr=False)

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
        self._lines = queue.SimpleQueue()
        reader = (self._process.stdout, self._lines)
        threading.Thread(target=_forward, args=reader, daemon=True).start()
        try:
            ready = self._read(timeout_s)
            self.load_s = ready.pop("load_s", time.perf_counter() - began)
            self.facts = ready
            self._signal(signal.SIGSTOP)
        except BaseException:
            self.kill()
            raise

    def generate(self, prompts: list[list[int]], new: int) -> float:
        """Seconds; raises RuntimeError when fewer tokens came out than were asked for."""
        stdin = self._process.stdin if self._process is not None else None
        assert stdin is not None, "not started"
        stdin.write(json.dumps({"prompts": prompts, "new": new}) + "\n")
        stdin.flush()
        answer = self._read(self.answer_timeout_s)
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
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def stop(self) -> None:
        """End it in order; whatever is left after 30 s is killed."""
        if self._process is None:
            return
        self._signal(signal.SIGCONT)
        if self._process.stdin is not None:
            with suppress(OSError):  # it may have ended by itself
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self.kill()

    def kill(self) -> None:
        """End it and its children now, stopped or not; nothing when it has ended."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _read(self, timeout_s: float) -> dict[str, Any]:
        """The next answer; a child that holds the output open does not hide the engine's end."""
        assert self._process is not None, "not started"
        until = time.perf_counter() + timeout_s
        line, ended = None, False
        while True:
            left = until - time.perf_counter()
            if left <= 0:
                self.kill()
                raise RuntimeError(f"{self.name} gave no answer in {timeout_s:g} s")
            with suppress(queue.Empty):
                line = self._lines.get(timeout=min(left, 1))
                break
            if ended:
                break
            ended = self._process.poll() is not None
        if line is None:
            raise RuntimeError(f"{self.name} ended without an answer")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _forward(stdout: Iterator[str], lines: "queue.SimpleQueue[str | None]") -> None:
    """Engines print what they like: only our lines count. None is the end."""
    try:
        for line in stdout:
            if line.startswith("@"):
                lines.put(line[1:])
    finally:
        lines.put(None)


@contextmanager
def ending(workers: Sequence[Worker]) -> Iterator[None]:
    """However the block ends, no worker outlives it: in order if it went well, else killed."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
        for worker in workers:
            worker.stop()
    finally:
        for worker in workers:
            worker.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def draw(row: str, prompts: Prompts) -> list[Call]:
    """What an engine is asked for one figure of one row, in order."""
    if row.startswith("prefill"):
        return [([prompts.take(int(row.split("_")[1]))], 1)]
    if row.startswith("decode"):
        batch = range(int(row.split("_")[1]))
        return [([prompts.take(DECODE_PROMPT_LEN) for _ in batch], n) for n in (1, NEW_TOKENS)]
    shared = prompts.take(960)
    return [([shared + prompts.take(64)], 1) for _ in range(2)]


def measure(worker: Worker, row: str, calls: Sequence[Call]) -> float:
    """One figure of one row."""
    seconds = [worker.generate(asked, new) for asked, new in calls]
    asked = calls[-1][0]
    if row.startswith("prefill"):
        return len(asked[0]) / seconds[0]
    if row.startswith("decode"):
        return len(asked) * (NEW_TOKENS - 1) / (seconds[1] - seconds[0])
    return seconds[-1]


def interleave(workers: Sequence[Worker], prompts: Prompts, trials: int) -> Iterator[str]:
    """Fill `rows` of all workers, engines in turn and in changing order; yields what was done. The
    first round only warms up. A worker that fails is killed, says why in `failure` and is left out
    from there on."""
    for trial in range(trials + 1):
        for row in ROWS:
            calls = draw(row, prompts)
            for worker in workers if trial % 2 else list(reversed(workers)):
                if worker.failure is not None:
                    continue
                try:
                    with worker:
                        value = measure(worker, row, calls)
                except Exception as error:
                    worker.failure = f"{row}: {describe(error)}"
                    worker.kill()
                    continue
                if trial:
                    worker.rows.setdefault(row, []).append(value)
            yield f"trial {trial}/{trials} {row}"


def describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def medians(worker: Worker) -> dict[str, float]:
    found = {row: statistics.median(values) for row, values in worker.rows.items()}
    return {**found, "load_s": worker.load_s, "peak_rss_mb": worker.peak_rss_mb}
