"""Ten thousand random requests at a small pool: nothing leaks, nothing hangs, no token is wrong.

    python benchmarks/soak_engine.py [--requests 10000] [--model llama|native|paged] [--seed 0]

Mixed lengths, forks, aborts, bad requests, steps that fail, tenants, pins, host and
disk tiers, words of when contexts are read, a pool that is always full. Every request must be
answered or refused with a typed error; greedy answers must equal those of a roomy engine that is
asked one thing at a time (`paged`: all of them, else a sample). Last line: one JSON object.
"""

import argparse
import gc
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gguf
import torch
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers

from backends.base import Outcome, Request, Result
from backends.errors import EngineError
from backends.fake.paged_model import PagedModel
from backends.llm.core import LLMCore
from backends.llm.kv.eviction import POLICIES, EvictionName
from backends.llm.kv.page_table import PageTable
from backends.llm.model.config import ModelConfig
from backends.llm.model.native.native_model import NativeModel
from backends.llm.model.native.weight_source import TensorSource
from backends.llm.model.torch_model.llama import LlamaModel
from backends.llm.model.weights import expected_shapes
from backends.llm.options import LLMOptions
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.sequence.sequence import LLMContext
from backends.llm.text.chat import ChatTemplate
from backends.llm.text.tokenizer import Tokenizer
from backends.native.packing import Blocks

MAX_CONTEXTS, MAX_LIVE = 24, 12
CONTEXT_LEN = 160
PREFIXES = [
    "the owl sat in the old oak " * 3,
    "the owl sat in the new elm " * 2,
    "once upon a time there was a cache " * 2,
    "zzzz " * 12,
]
_FIRE = "the machine is on fire"
SALTS = [None, None, None, "anna", "ben"]


def tiny_llama() -> LlamaModel:
    """Two layers of random weights over bytes."""
    return LlamaModel(*_tiny(head_dim=8))


def tiny_native() -> NativeModel:
    """The same with wider heads, on the C++ kernels: any wrong bit of KV is a wrong token."""
    config, weights = _tiny(head_dim=16)
    return NativeModel(config, TensorSource(weights), torch.float32, num_threads=2)


def tiny_int8() -> NativeModel:
    """The same in the default numerics: products of whole numbers over blocks of 4 bits."""
    config, weights = _tiny(head_dim=32, hidden_size=64, intermediate_size=96)
    return NativeModel(config, _Blocks(weights), torch.bfloat16, num_threads=2, int8=True)


class _Blocks(TensorSource):
    def blocks(self, name: str) -> Blocks:
        rows = gguf.quants.quantize(self.values(name), gguf.GGMLQuantizationType.Q4_0)
        return Blocks("Q4_0", rows)


def _tiny(
    head_dim: int, hidden_size: int = 32, intermediate_size: int = 48
) -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    sizes = {
        "num_layers": 2,
        "hidden_size": hidden_size,
        "intermediate_size": intermediate_size,
        "vocab_size": 256,
    }
    heads = {"num_heads": 4, "num_kv_heads": 2, "head_dim": head_dim, "max_positions": 512}
    config = ModelConfig(**sizes, **heads, rms_eps=1e-6, rope_theta=1e4)
    weights = {
        name: torch.ones(shape) if "norm" in name else 0.3 * torch.randn(shape)
        for name, shape in expected_shapes(config).items()
    }
    return config, weights


MODELS: dict[str, Callable[[], Any]] = {
    "llama": tiny_llama,
    "native": tiny_native,
    "int8": tiny_int8,
    "paged": PagedModel,
}


def byte_prompts() -> PromptEncoder:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    rust = RustTokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    return PromptEncoder(Tokenizer(rust, eos_ids=()), ChatTemplate(None))


@dataclass(slots=True)
class Report:
    """What became of the requests."""

    requests: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    aborted: int = 0
    aborted_while_loading: int = 0
    failed_steps: int = 0
    pins: Counter[str] = field(default_factory=Counter)
    checked: int = 0
    wrong: list[str] = field(default_factory=list)
    early_rss_mb: float = 0.0
    late_rss_mb: float = 0.0


class Soak:
    """Random requests to one core, driven step by step."""

    def __init__(self, core: LLMCore, seed: int, check_every: int, sample: float) -> None:
        self.core = core
        self.report = Report()
        self.decoded: list[tuple[bytes, int, bytes]] = []  # prompt, max_tokens, all ids
        self._random = random.Random(seed)
        self._check_every = check_every
        self._sample = sample
        self._contexts: list[LLMContext] = []
        self._live: dict[str, Request] = {}
        self._num_steps = 0

    def run(self, num_requests: int) -> Report:
        # The first fifth fills tables, tiers and allocators; from then on memory is flat.
        marks = [num_requests // 5, num_requests]
        while self.report.requests < num_requests:
            self._act()
            if marks and self.report.requests >= marks[0]:
                self._note_memory(is_first=len(marks) == 2)
                marks.pop(0)
        while self.core.has_work:
            self._step()
        assert not self._live, f"never answered: {list(self._live)}"
        self._end()
        return self.report

    def _act(self) -> None:
        chance = self._random.random()
        if chance < 0.35 and len(self._live) < MAX_LIVE:
            self._submit(*self._request())
        elif chance < 0.38:
            self._submit(*self._bad_request())
        elif chance < 0.42:
            self._abort()
        elif chance < 0.47:
            self._pin()
        elif chance < 0.50 and self._contexts:
            self._contexts.pop(self._random.randrange(len(self._contexts))).release()
        elif chance < 0.503:
            self._fail_a_step()
        elif chance < 0.5035:
            self.core.flush()
        elif chance < 0.56 and self._contexts:
            after_s = self._random.choice([0.0, 0.05, 0.2, 0.5, 2.0, 1e4])
            self.core.expect(self._random.choice(self._contexts), after_s)
        else:
            self._step()

    def _request(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        some = self._random
        context = some.choice(self._contexts) if self._contexts else None
        if context is None or some.random() < 0.3:
            prefix = some.choice(PREFIXES)
            text = prefix[: some.randrange(1, len(prefix))] + str(some.randrange(20))
            attrs = {"cache_salt": salt} if (salt := some.choice(SALTS)) else {}
            return "prefill", (None, text), attrs
        if some.random() < 0.35:
            return "prefill", (context, some.choice(PREFIXES)[: some.randrange(0, 40)]), {}
        if some.random() < 0.05:
            return "select", (context, ["yes", "no", "perhaps not"]), {}
        attrs: dict[str, Any] = {"max_tokens": some.choice([1, 4, 12, 40])}
        kind = some.random()
        if kind < 0.1:
            attrs |= {"temperature": 0.8, "seed": some.randrange(9)}
        elif kind < 0.15:
            attrs |= {"temperature": 0.8, "n": 3}
        elif kind < 0.2:
            attrs |= {"schema": {"type": "boolean"}}
        elif kind < 0.3:
            attrs |= {"stop": ["a", "e"]}
        return "decode", (context,), attrs

    def _bad_request(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        context = self._random.choice(self._contexts) if self._contexts else None
        return self._random.choice(
            [
                ("fly", (), {}),
                ("prefill", (None, "x" * 10_000), {}),
                ("prefill", (None, 7), {}),
                ("prefill", (None, "a"), {"cache_salt": 7}),
                ("decode", (None,), {}),
                ("decode", (context,), {"max_tokens": 0}),
                ("decode", (context,), {"cache_salt": "somebody else"}),
                ("decode", (context,), {"schema": {"type": "strange"}}),
            ]
        )

    def _submit(self, op: str, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> None:
        self.report.requests += 1
        request = Request(f"{self.report.requests:032x}", op, inputs, attrs)
        try:
            self.core.add(request)
        except EngineError as refusal:
            self.report.outcomes[type(refusal).__name__] += 1
        else:
            self._live[request.id] = request

    def _step(self) -> None:
        for request, outcome in self.core.step():
            self._take(self._live.pop(request.id), outcome)
        self._num_steps += 1
        if self._num_steps % self._check_every == 0:
            self.core.check_integrity()

    def _take(self, request: Request, outcome: Outcome) -> None:
        if not isinstance(outcome, Result):
            assert isinstance(outcome, EngineError), f"an untyped end: {outcome!r}"
            assert _FIRE in str(outcome), f"it failed by itself: {outcome!r}"
            self.report.outcomes[type(outcome).__name__] += 1
            return
        self.report.outcomes[request.op] += 1
        made = [out for out in outcome.outputs if isinstance(out, LLMContext)]
        self._remember(request, made)
        for context in made:
            if context.num_tokens < CONTEXT_LEN - 4:
                self._contexts.append(context)
        while len(self._contexts) > MAX_CONTEXTS:
            self._contexts.pop(self._random.randrange(len(self._contexts)))  # garbage: a release

    def _remember(self, request: Request, made: list[LLMContext]) -> None:
        is_greedy = request.op == "decode" and request.attrs.keys() == {"max_tokens"}
        if is_greedy and self._random.random() < self._sample:
            (context,) = made
            num_tokens = request.attrs["max_tokens"]
            self.decoded.append((bytes(request.inputs[0].ids), num_tokens, bytes(context.ids)))

    def _abort(self) -> None:
        """Those who wait for a tier first: the rarest state."""
        loading = [
            request_id
            for request_id, group in self.core.live.groups.items()
            if any(sequence.table.is_loading for sequence in group.live)
        ]
        if not loading and (not self._live or self._random.random() < 0.5):
            return
        request_id = self._random.choice(loading or list(self._live))
        assert self.core.abort(request_id) is not None
        del self._live[request_id]
        self.core.check_integrity()
        self.report.aborted += 1
        self.report.aborted_while_loading += bool(loading)
        self.report.outcomes["aborted"] += 1

    def _pin(self) -> None:
        if not self._contexts:
            return
        what = "pin"
        try:
            self.core.pins.pin(self._random.choice(self._contexts))
        except EngineError as refusal:
            what = f"pin: {type(refusal).__name__}"
        self.report.pins[what] += 1

    def _fail_a_step(self) -> None:
        launch = self.core.model.launch

        def fail(*_: object) -> None:
            raise RuntimeError(_FIRE)

        self.core.model.launch = fail  # type: ignore[method-assign, assignment]
        try:
            self._step()
        finally:
            self.core.model.launch = launch  # type: ignore[method-assign]
        self.report.failed_steps += 1

    def _note_memory(self, *, is_first: bool) -> None:
        gc.collect()
        rss_mb = _rss_mb()
        if is_first:
            self.report.early_rss_mb = rss_mb
        self.report.late_rss_mb = rss_mb

    def _end(self) -> None:
        """Nothing may be held when nobody holds anything."""
        for context in self._contexts:
            context.release()
        self._contexts.clear()
        gc.collect()
        self.core.check_integrity()
        self.core.flush()
        self.core.check_integrity()
        pool = self.core.cache.pool
        assert pool.num_free == pool.num_pages, f"{pool.num_pages - pool.num_free} pages leaked"
        assert not len(self.core.cache.idle), "an idle context is left"


def check(soak: Soak, roomy: LLMCore) -> None:
    """Greedy answers again, one at a time, without pressure."""
    for i, (prompt, num_tokens, ids) in enumerate(soak.decoded):
        context = LLMContext(list(prompt), None, PageTable(), roomy.live.released)
        roomy.add(Request(f"{i:032x}", "decode", (context,), {"max_tokens": num_tokens}))
        outcomes: list[tuple[Request, Outcome]] = []
        while roomy.has_work:
            outcomes += roomy.step()
        ((_, outcome),) = outcomes
        assert isinstance(outcome, Result), outcome
        soak.report.checked += 1
        if bytes(outcome.outputs[1].ids) != ids:
            soak.report.wrong.append(f"{prompt!r} -> {ids!r}, not {outcome.outputs[1].ids}")


@contextmanager
def soaking(
    model: Callable[[], Any],
    seed: int = 0,
    check_every: int = 1,
    sample: float = 1.0,
    page_size: int = 8,
    eviction: EvictionName | None = None,
) -> Iterator[tuple[Soak, LLMCore]]:
    """A soak of a small core with every feature on, and a roomy core of the same model. Its clock
    ticks by a millisecond whenever it is asked; `eviction` is by the seed where it is not given."""
    ticks = count()
    with tempfile.TemporaryDirectory() as folder:
        common: dict[str, Any] = {"page_size": page_size, "context_len": CONTEXT_LEN}
        options = LLMOptions(
            **common,
            token_budget=48,
            max_running=6,
            pin_share=0.3,
            eviction=eviction or random.Random(seed).choice(list(POLICIES)),
            host_kv_tokens=128,
            disk_kv=folder,
            disk_kv_bytes=1 << 20,
        )
        core = LLMCore(model(), byte_prompts(), options, 320, lambda: next(ticks) / 1e3)
        roomy = LLMCore(model(), byte_prompts(), LLMOptions(**common), 4096)
        soak = Soak(core, seed, check_every, sample)
        try:
            yield soak, roomy
        finally:
            core.close()


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--model", choices=list(MODELS), default="llama")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    is_paged = given.model == "paged"
    started = time.perf_counter()
    with soaking(
        MODELS[given.model],
        seed=given.seed,
        check_every=10,
        sample=1.0 if is_paged else 0.25,
        page_size=16 if given.model in ("native", "int8") else 8,
    ) as (soak, roomy):
        report = soak.run(given.requests)
        check(soak, roomy)
        stats = soak.core.cache_stats()
    seconds = time.perf_counter() - started
    print(f"{report.requests} requests in {seconds:.0f} s, {soak.core.num_steps} steps")
    for name, num in sorted(report.outcomes.items()):
        print(f"  {name:<20} {num:>7}")
    print(f"aborted while loading  {report.aborted_while_loading}")
    print(f"failed steps           {report.failed_steps}")
    print(f"pins                   {dict(report.pins)}")
    print(f"preemptions            {soak.core.planner.num_preemptions}")
    print(f"greedy answers checked {report.checked}, wrong {len(report.wrong)}")
    print(
        f"memory after a fifth   {report.early_rss_mb:.0f} MB, at the end {report.late_rss_mb:.0f}"
    )
    print(stats)
    result = {
        "requests": report.requests,
        "seconds": round(seconds, 1),
        "answered": sum(report.outcomes.values()),
        "wrong": len(report.wrong),
        "checked": report.checked,
        "aborted_while_loading": report.aborted_while_loading,
        "host_hit_tokens": stats.host_hit_tokens,
        "disk_hit_tokens": stats.disk_hit_tokens,
        "leaked_pages": 0,  # or `run` had raised
        "grown_mb": round(report.late_rss_mb - report.early_rss_mb, 1),
    }
    print(json.dumps(result))
    if report.wrong or sum(report.outcomes.values()) != report.requests:
        sys.exit("the soak failed: " + "; ".join(report.wrong[:3]))


if __name__ == "__main__":
    main()
