"""Many questions over one corpus, each answered from `k` passages: by full prefill, by the prefix
cache alone, and with KV cache fusion by several plans.

Each question is asked by all ways in turn, in changing order, about the same passages in the order
of the search. A way is a tenant of its own, so it finds no KV of another; `nothing` is a new tenant
at each question. Plans find the corpus encoded: it was, once, behind the prompt's prefix, as one
would when a corpus is indexed, and those seconds are reported. TTFT counts from where the passages
are known. Seconds a question include the search.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import teola as tl
from backends.base import total
from backends.tools.load import load
from backends.tools.split import split
from runtime.events import Event
from teola.viewer.model import Trace, TraceBuilder

SYSTEM = "Answer the question from the passages, in one sentence."
EXACT = ("nothing", "prefix")
KV_TOKENS = 131_072  # so that no way evicts what another will need

llm = tl.LLM("local:smollm2-135m", kv_tokens=KV_TOKENS, fusion_floor=-1.0)
store = tl.Store("local:", embedder=tl.Embedder("local:all-minilm-l6-v2"))


@tl.prompt(llm, max_tokens=48, system=SYSTEM, stop="\n")
def write(question: str, docs: list[tl.Doc]) -> str:
    return f"{tl.join(docs, '{text}', reuse='fuse')}\n\nQuestion: {question}"


@tl.app
def answer(question: str, docs: list[tl.Doc]) -> str:
    return write(question, docs)


@tl.app
def find(question: str, files: list[str], k: int) -> list[tl.Doc]:
    found = tl.split(tl.load(files), chunk_tokens=200, overlap=30)
    return store.index(found).search(question, k=k)


def passages(files: list[str]) -> list[tl.Doc]:
    """The documents of the index that `find` searches."""
    return split(load(files), chunk_tokens=200, overlap=30, tokenizer=store.embedder.spec.url)


@dataclass
class Series:
    """What the questions of one way took."""

    ttft_s: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    computed: int = 0  # tokens of prompts
    fused: int = 0
    encoded: int = 0  # chunks that were not there
    encode_s: float = 0.0  # for the whole corpus, before the first question


def bench(questions: Sequence[str], files: list[str], k: int, plans: Sequence[str]) -> Any:
    """Figures by way."""
    ways = (*EXACT, *plans)
    series = {way: Series() for way in ways}
    corpus = passages(files)
    prepare(corpus[:k], ways)
    for plan in plans:
        series[plan].encode_s = encode(corpus, plan)
    prompt_lens = list[int]()
    for number, question in enumerate(questions):
        began = time.perf_counter()
        docs = find(question, files, k)
        find_s = time.perf_counter() - began
        turn = number % len(ways)
        for way in (*ways[turn:], *ways[:turn]):
            num_tokens = ask(way, number, question, docs, find_s, series[way])
            prompt_lens += [num_tokens] if way == "nothing" else []
    return {
        "questions": len(questions),
        "prompt_tokens": round(statistics.mean(prompt_lens)),
        "ways": {way: row(own, series) for way, own in series.items()},
    }


def prepare(docs: Sequence[tl.Doc], ways: Sequence[str]) -> None:
    """Load the engines and make the plans, as tenants that ask nothing."""
    for way in ways:
        ask(way, 0, "What is this?", docs, 0.0, Series(), "warm up ")


def encode(docs: Sequence[tl.Doc], plan: str) -> float:
    """Seconds to compute the KV of all passages behind the prompt's prefix."""
    app = answer.using(fusion=plan, salt=f"session {plan}")
    began = time.perf_counter()
    app.encode_ahead(docs)
    return time.perf_counter() - began


def ask(
    way: str,
    number: int,
    question: str,
    docs: Sequence[tl.Doc],
    find_s: float,
    series: Series,
    tenant: str = "session ",
) -> int:
    """Ask one question by one way; the tokens of its prompt."""
    salt = f"{tenant}{way}{number if way == 'nothing' else ''}"
    builder = TraceBuilder()
    fusion = "exact" if way in EXACT else way
    listener: Callable[[Event], None] = builder
    app = answer.using(fusion=fusion, salt=salt, memo=False, listener=listener)
    began = time.perf_counter()
    series.answers.append(app(question, docs))
    series.seconds.append(find_s + time.perf_counter() - began)
    trace = builder.trace()
    series.ttft_s.append(first_token_s(trace))
    usage = total(span.usage for span in trace.spans)
    series.computed += usage.prefill_tokens
    series.fused += usage.fused_tokens
    series.encoded += sum(span.fusion.num_encoded for span in trace.spans if span.fusion)
    return usage.prefill_tokens + usage.cached_tokens + usage.fused_tokens


def first_token_s(trace: Trace) -> float:
    return min(span.first_token_s for span in trace.spans if span.first_token_s is not None)


def row(own: Series, series: dict[str, Series]) -> dict[str, Any]:
    """Answers are compared to those of `nothing`; ratios are of means over the same questions."""
    nothing, prefix = series["nothing"], series["prefix"]
    pairs = list(zip(own.answers, nothing.answers, strict=True))
    ttft_s, seconds = statistics.mean(own.ttft_s[1:]), statistics.mean(own.seconds[1:])
    return {
        "ttft_s": round(ttft_s, 4),
        "ttft_ratio": round(statistics.mean(nothing.ttft_s[1:]) / ttft_s, 2),
        "ttft_ratio_to_prefix": round(statistics.mean(prefix.ttft_s[1:]) / ttft_s, 2),
        "seconds": round(seconds, 4),
        "seconds_ratio": round(statistics.mean(nothing.seconds[1:]) / seconds, 2),
        "same_text": round(statistics.mean(a == b for a, b in pairs), 3),
        "token_f1": round(statistics.mean(token_f1(a, b) for a, b in pairs), 3),
        "computed": own.computed,
        "fused": own.fused,
        "encoded": own.encoded,
        "encode_s": round(own.encode_s, 3),
    }


def token_f1(one: str, other: str) -> float:
    """Of words: 1 for the same ones, whatever their order."""
    left, right = Counter(one.lower().split()), Counter(other.lower().split())
    if not left or not right:
        return float(left == right)
    return 2 * (left & right).total() / (left.total() + right.total())
