"""What KV cache fusion saves and what it loses, plan by plan.

    python benchmarks/bench_fusion.py [--data musique|nq] [--questions 100] [--passages 12]
                                      [--passage-tokens 120] [--plans all|beyond|...] [--timed 4]

Loss, in float32: the mean KL divergence from the exact prompt's next-token distributions to those
of the fused one over the 16 tokens that the exact one writes; R = 1 - KL / KL(reuse) with a 95 %
bootstrap interval over questions; the share of places with the same likeliest token; how much less
likely the reference answer is (nats a token).
Time, in the default dtype: seconds of a prefill and the first token with the chunks' KV in the
pool, all modes in turn, medians; `exact` has the prefix cached. Cost is the share of the prompt's
token-layers that are computed.
`similar:` encodes chunks behind the prefix and the passage that shares the most words. `craft`
takes each from an earlier question's prompt with two others before it, `together:craft` all from
one in which they stood in reverse between others. What --rows names keeps every measured row, and a
second run goes on from there.
Last line: a JSON list. `--svg` draws R against cost.
"""

import argparse
import asyncio
import gzip
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.base import Chunk, Part, Result, Turn
from backends.llm.engine import LLMEngine
from backends.llm.fusion.chunk_encoder import Behind
from backends.llm.fusion.fused_prefill import Fuser
from backends.registry import EngineSpec, create
from benchmarks.fusion_plot import draw
from teola.fusion_check.earlier import earlier_prompts, how_encoded
from teola.fusion_check.loss import cost_of, kl_of, top1_of
from teola.fusion_check.probe import Probe
from teola.fusion_check.recovered import recovered

DATA = Path(__file__).parent / "data"
PLANS = {
    "all": (
        *("reuse", "lego(1)", "lego(4)", "lego(16)", "lego(32)"),
        *("random(0.15)", "random(0.3)", "query(0.05)", "query(0.15)", "query(0.3)", "query(0.5)"),
        *("blend(0.15)", "blend(0.15, v=true)", "blend(0.3)", "gradual(0.15)"),
        *("reuse+alone", "lego(4)+alone", "lego(8)+alone", "lego(16)+alone"),
        *("reuse+context(256)", "lego(4)+context(256)", "query(0.15)+context(256)"),
        *("craft(0.15)", "craft(0.3)", "together:craft(0.15)"),
    ),
    "beyond": (
        *("reuse", "query(0.15)", "query(0.15, first=10, end=20)", "query(0.15, first=5, end=15)"),
        *("query(0.15, first=0, end=10)", "query(0.15, first=14, end=15)", "query(0.15)+first(4)"),
        *("query(0.12)+first(4)", "similar:reuse", "similar:query(0.15)"),
        *("query(0.05)+first(4)+alone", "query(0.15)+first(4)+alone", "query(0.1)+first(8)+alone"),
        *(f"reuse+context({n})" for n in (16, 64, 128, 256, 512)),
        *("reuse+context(256)+alone", "lego(4)+context(256)+alone", "lego(16)+context(256)"),
        *("lego(8)+context(256)", "lego(4)+context(256)", "query(0.05)+context(256)"),
        *("query(0.15)+context(256)", "query(0.3)+context(256)", "blend(0.15)+context(256)"),
    ),
    "few": ("reuse", "lego(16)", "query(0.15)", "blend(0.15)"),
}
NUM_NEW = 16
HEAD = (Turn("user"), "Answer the question from the passages.\n\n")
console = Console()


@dataclass(frozen=True, slots=True)
class Row:
    """Of one mode on one question."""

    question: int
    mode: str
    tokens: int
    cost: float
    kl: float
    top1: float
    nll: float  # of the reference answer, nats a token


@dataclass(frozen=True, slots=True)
class Case:
    passages: tuple[str, ...]
    question: str
    answer: str

    def prompt(self, reverse: bool = False, again: str = "") -> list[Part]:
        """`again` makes it another prompt than that of before."""
        order = self.passages[::-1] if reverse else self.passages
        chunks = [Chunk(f"{text}\n\n") for text in order]
        return [*HEAD, *chunks, f"Question: {self.question}{again}", Turn("assistant")]

    def mixed_prompt(self, other: "Case") -> list[Part]:
        """Another question's, which had these passages among its own, the last first."""
        pairs = zip(other.passages, self.passages[::-1], strict=False)
        chunks = [Chunk(f"{text}\n\n") for pair in pairs for text in pair]
        return [*HEAD, *chunks, f"Question: {other.question}", Turn("assistant")]


def cases(args: argparse.Namespace, engine: LLMEngine) -> list[Case]:
    with gzip.open(DATA / args.data / "questions.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines][: args.questions]
    texts = [_joined(x["passages"][: args.passages], args.join) for x in found]
    cut = [tuple(_cut(engine, text, args.passage_tokens) for text in own) for own in texts]
    answers = [(x.get("answers") or [x["answer"]])[0] for x in found]
    return [
        Case(own, x["question"], answer) for own, x, answer in zip(cut, found, answers, strict=True)
    ]


def _joined(passages: Sequence[str], count: int) -> Iterator[str]:
    for i in range(0, len(passages), count):
        yield "\n\n".join(passages[i : i + count])


def _cut(engine: LLMEngine, text: str, num_tokens: int) -> str:
    ids = engine.encode([text])
    return engine.decode(ids[:num_tokens]) if len(ids) > num_tokens else text


def behind_nothing(text: str, texts: Sequence[str]) -> None:
    """How a chunk alone is encoded."""


def behind_similar(text: str, texts: Sequence[str]) -> tuple[str, ...]:
    """The passage that shares the most of its words."""
    words = set(text.lower().split())
    others = [other for other in texts if other != text]
    if not others:
        return ()
    return (max(others, key=lambda o: len(words & set(o.lower().split())) / len(set(o.split()))),)


ENCODINGS: dict[str, Behind | None] = {
    "": None,
    "similar": behind_similar,
    "together": None,
}


class Modes:
    """Prefills of one engine: a plan behind what its chunks are encoded behind."""

    def __init__(self, engine: LLMEngine) -> None:
        self.engine = engine
        self.probe = Probe(engine)
        make: Callable[..., Fuser] = partial(
            Fuser, engine._execute_one, engine._abort_one, 16, engine._running_core
        )
        self._fusers = {name: make(behind) for name, behind in ENCODINGS.items()}

    async def prefill(self, mode: str, prompt: Sequence[Part]) -> Result:
        encoding, _, plan = mode.rpartition(":")
        self.engine._fuser = self._fusers[encoding]
        return await self.probe.prefill(prompt, None if plan == "exact" else plan)


async def lose(
    modes: Modes, number: int, case: Case, other: Case, wanted: Sequence[str]
) -> list[Row]:
    """The rows of one question."""
    answer = modes.engine.encode([case.answer])
    exact = (await modes.prefill("exact", case.prompt())).outputs[0]
    tokens = await modes.probe.continuation(exact, NUM_NEW)
    right = await modes.probe.logprobs(exact, tokens[:-1])
    rows = [Row(number, "exact", exact.num_tokens, 1.0, 0, 1, await _nll(modes, exact, answer))]
    exact.release()
    modes.probe.flush()  # else the next would find all of it, exact
    before: object = None
    for mode in wanted:
        encoding, _, plan = mode.rpartition(":")
        if (encoded := (encoding, how_encoded(plan))) != before:
            modes.probe.flush()  # else it would find its first chunk exact
        before = encoded
        earlier = earlier_prompts(mode, case.prompt(), other.prompt())
        if mode.startswith("together"):
            earlier = iter([case.mixed_prompt(other)])
        for prompt in earlier:
            await _released(modes, mode, prompt)
        result = await modes.prefill(mode, case.prompt())
        (context,) = result.outputs
        found = await modes.probe.logprobs(context, tokens[:-1])
        cost = cost_of(result.fusion) if result.fusion else 1.0
        nll = await _nll(modes, context, answer)
        rows.append(
            Row(
                number,
                mode,
                context.num_tokens,
                cost,
                kl_of(right, found),
                top1_of(right, found),
                nll,
            )
        )
        context.release()
    modes.probe.flush()
    return rows


async def _nll(modes: Modes, context: Any, answer: Sequence[int]) -> float:
    found = await modes.probe.logprobs(context, answer[:-1])
    return -float(np.mean(found[np.arange(len(answer)), list(answer)]))


async def quality(args: argparse.Namespace, plans: Sequence[str]) -> list[Row]:
    """Of all questions; rows that a file has are not measured again."""
    kept = [Row(**json.loads(line)) for line in _lines(args.rows)]
    known = {(row.question, row.mode) for row in kept}
    engine = engine_of("float32")
    await engine.start()
    modes = Modes(engine)
    try:
        found = cases(args, engine)
        for number, case in enumerate(track(found, "loss", console=console)):
            missing = [plan for plan in plans if (number, plan) not in known]
            rows = await lose(modes, number, case, found[number - 1], missing) if missing else []
            kept += [row for row in rows if (number, row.mode) not in known]
            _keep(args.rows, [row for row in rows if (number, row.mode) not in known])
    finally:
        await engine.close()
    return [row for row in kept if row.mode in ("exact", *plans)]


def _lines(path: Path | None) -> list[str]:
    return path.read_text("utf-8").splitlines() if path is not None and path.exists() else []


def _keep(path: Path | None, rows: Sequence[Row]) -> None:
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def engine_of(dtype: str) -> LLMEngine:
    options = {"dtype": dtype, "fusion_floor": -np.inf, "kv_tokens": 32768}
    engine = create(EngineSpec("llm", "local:smollm2-135m", options))
    assert isinstance(engine, LLMEngine), "local: is embedded"
    return engine


async def times(args: argparse.Namespace, plans: Sequence[str]) -> dict[str, list[float]]:
    """Seconds to the first token."""
    found: dict[str, list[float]] = {mode: [] for mode in ("exact", *plans)}
    engine = engine_of("auto")
    await engine.start()
    modes = Modes(engine)
    try:
        for case in cases(args, engine)[: args.timed]:
            for trial in range(args.trials):
                for mode in _in_turn(list(found), trial):
                    found[mode].append(await _first_token_s(modes, mode, case, trial))
    finally:
        await engine.close()
    return found


def _in_turn(modes: list[str], trial: int) -> Iterator[str]:
    yield from modes if trial % 2 else modes[::-1]


async def _first_token_s(modes: Modes, mode: str, case: Case, trial: int) -> float:
    """With the chunks' KV in the pool, in places that they never had, of a prompt that is new."""
    modes.probe.flush()
    if mode == "exact":
        await _released(modes, "exact", list(HEAD))
    else:
        encoding, _, plan = mode.rpartition(":")
        ahead = plan if plan.startswith("craft") else "+".join(("reuse", *_encoding(plan)))
        for _ in range(2):  # the first learns how long the chunks are
            await _released(modes, f"{encoding}:{ahead}".lstrip(":"), case.prompt())
    prompt = case.prompt(reverse=True, again=" " * trial)
    began = time.perf_counter()
    (context,) = (await modes.prefill(mode, prompt)).outputs
    await modes.probe.continuation(context, 1)
    elapsed_s = time.perf_counter() - began
    context.release()
    return elapsed_s


def _encoding(plan: str) -> Iterator[str]:
    """The modifiers that say how chunks are encoded."""
    return (x for x in plan.split("+")[1:] if x == "alone" or x.startswith("context"))


async def _released(modes: Modes, mode: str, prompt: Sequence[Part]) -> None:
    (await modes.prefill(mode, prompt)).outputs[0].release()


def summed_up(rows: Sequence[Row], seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """One entry a mode."""
    by_mode: dict[str, list[Row]] = {}
    for row in rows:
        by_mode.setdefault(row.mode, []).append(row)
    exact_s = statistics.median(seconds["exact"]) if seconds.get("exact") else None
    found = []
    for mode, own in by_mode.items():
        base = by_mode["reuse"]
        same = min(len(own), len(base))
        r = recovered([x.kl for x in own[:same]], [x.kl for x in base[:same]])
        exact_nll = statistics.mean(x.nll for x in by_mode["exact"][: len(own)])
        entry = {
            "mode": mode,
            "n": len(own),
            "tokens": round(statistics.mean(x.tokens for x in own)),
            "cost": round(statistics.mean(x.cost for x in own), 4),
            "kl": round(statistics.mean(x.kl for x in own), 4),
            "R_kl": round(r.r, 3),
            "R_kl_ci": [round(r.low, 3), round(r.high, 3)],
            "top1": round(statistics.mean(x.top1 for x in own), 3),
            "nll_more": round(statistics.mean(x.nll for x in own) - exact_nll, 3),
        }
        if seconds.get(mode) and exact_s is not None:
            entry["ttft_s"] = round(statistics.median(seconds[mode]), 4)
            entry["ttft_ratio"] = round(exact_s / statistics.median(seconds[mode]), 2)
        found.append(entry)
    return found


def paired(rows: Sequence[Row], one: str, other: str) -> str:
    """Mean difference of KL with its 95 % bootstrap interval."""
    kls = {(row.mode, row.question): row.kl for row in rows}
    both = [q for mode, q in kls if mode == one and (other, q) in kls]
    if not both:
        return ""
    gaps = np.array([kls[one, q] - kls[other, q] for q in both])
    picks = np.random.default_rng(0).integers(0, len(gaps), (2000, len(gaps)))
    low, high = np.quantile(gaps[picks].mean(1), (0.025, 0.975))
    return f"KL({one}) - KL({other}) = {gaps.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


PAIRS = (
    *(("blend(0.15)", "random(0.15)"), ("query(0.15)", "blend(0.15)"), ("reuse", "reuse+alone")),
    *(("lego(16)+alone", "lego(16)"), ("lego(8)+alone", "query(0.05)"), ("lego(16)", "reuse")),
    *(("reuse+context(256)", "query(0.15)"), ("lego(4)+context(256)", "query(0.15)")),
    *(("query(0.15)+context(256)", "query(0.3)"), ("reuse+context(256)", "reuse")),
    *(("craft(0.15)", "query(0.15)"), ("craft(0.15)", "lego(4)+context(256)")),
    *(("lego(16)+alone", "blend(0.15)"), ("query(0.15)+first(4)", "query(0.15)")),
    *(("query(0.15, first=10, end=20)", "query(0.15)"), ("similar:query(0.15)", "query(0.15)")),
)


def show(entries: Sequence[dict[str, Any]], rows: Sequence[Row]) -> None:
    table = Table("mode", "cost", "KL", "R (95 %)", "top-1", "answer NLL", "TTFT", "ratio")
    for x in entries:
        low, high = x["R_kl_ci"]
        table.add_row(
            x["mode"],
            f"{x['cost']:.3f}",
            f"{x['kl']:.4f}",
            f"{x['R_kl']:.2f} ({low:.2f} to {high:.2f})",
            f"{x['top1']:.3f}",
            f"{x['nll_more']:+.3f}",
            f"{x['ttft_s'] * 1e3:.0f} ms" if "ttft_s" in x else "",
            f"{x['ttft_ratio']:.1f}" if "ttft_ratio" in x else "",
        )
    console.print(f"{entries[0]['tokens']} tokens, {entries[0]['n']} questions")
    console.print(table)
    for pair in PAIRS:
        if text := paired(rows, *pair):
            console.print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("musique", "nq"), default="musique")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--passages", type=int, default=12)
    parser.add_argument("--join", type=int, default=1, help="passages of one chunk")
    parser.add_argument("--passage-tokens", type=int, default=1000)
    parser.add_argument("--plans", default="all", help="all, beyond, few, or plans with ; between")
    parser.add_argument("--timed", type=int, default=4, help="questions whose seconds are taken")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--rows", type=Path, help="a JSONL file that keeps what was measured")
    parser.add_argument("--svg", type=Path, help="draw R against cost")
    args = parser.parse_args()
    plans = PLANS.get(args.plans) or tuple(x.strip() for x in args.plans.split(";"))
    rows = asyncio.run(quality(args, plans)) if args.questions else []
    args.questions = max(args.questions, args.timed)
    seconds = asyncio.run(times(args, plans)) if args.timed else {}
    if not rows:
        medians = {mode: round(statistics.median(own), 4) for mode, own in seconds.items()}
        exact_s = medians["exact"]
        entries = [
            {"mode": mode, "ttft_s": own_s, "ttft_ratio": round(exact_s / own_s, 2)}
            for mode, own_s in medians.items()
        ]
        print(json.dumps(entries))
        return
    entries = summed_up(rows, seconds)
    show(entries, rows)
    if args.svg is not None:
        args.svg.write_text(draw(entries), encoding="utf-8")
    print(json.dumps(entries))


if __name__ == "__main__":
    main()
