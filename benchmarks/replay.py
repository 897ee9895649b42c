"""Arrivals replayed on a real core in virtual time: real tokens, invented seconds.

The core, its planner and its KV are the real ones. Only time is not: the clock moves by what a
step of so many tokens is said to take, and jumps to the next arrival when there is nothing to do.
So effects of policies on latency are exact, and the same on every machine.
"""

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers

from backends.base import Context, Request, Tokens
from backends.llm.core import LLMCore
from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.model.batch import StepBatch
from backends.llm.model.step_model import Launched, StepModel
from backends.llm.options import LLMOptions
from backends.llm.planner.policy import Policy
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.sequence.sequence import Sequence
from backends.llm.text.chat import ChatTemplate
from backends.llm.text.tokenizer import Tokenizer
from benchmarks.baseline_policies import BASELINES


class VirtualClock:
    """Seconds since it was made; they pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class TimedModel:
    """A model whose steps take `step_s(batch)` on the clock."""

    def __init__(
        self, model: StepModel[Any], clock: VirtualClock, step_s: Callable[[StepBatch], float]
    ) -> None:
        self._model = model
        self._clock = clock
        self._step_s = step_s
        self.config, self.device, self.dtype = model.config, model.device, model.dtype

    @property
    def layout(self) -> str:
        return self._model.layout

    def make_pool(self, num_pages: int, page_size: int) -> Any:
        return self._model.make_pool(num_pages, page_size)

    def adapter_bytes(self, adapter: LoadedAdapter) -> int:
        return self._model.adapter_bytes(adapter)

    def launch(self, batch: StepBatch, kv: Any) -> Launched:
        self._clock.now_s += self._step_s(batch)
        return self._model.launch(batch, kv)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: a prompt, and a decode of exactly `num_output` tokens."""

    at_s: float
    ids: Items[int]
    num_output: int
    priority: int = 0
    itl_s: float | None = None


@dataclass(slots=True)
class Served:
    """What became of an arrival."""

    arrival: Arrival
    ids: list[int] = field(default_factory=list)  # generated
    token_s: list[float] = field(default_factory=list)  # when each came

    @property
    def ttft_s(self) -> float:
        return self.token_s[0] - self.arrival.at_s

    @property
    def e2e_s(self) -> float:
        return self.token_s[-1] - self.arrival.at_s

    @property
    def itl_s(self) -> list[float]:
        return [b - a for a, b in zip(self.token_s, self.token_s[1:], strict=False)]


def virtual_core(
    model: StepModel[Any],
    clock: VirtualClock,
    step_s: Callable[[StepBatch], float],
    **options: Any,
) -> LLMCore:
    """A core on that clock. Nothing ends a decode but its length; tokens are bytes. `policy` may
    also name one of `baseline_policies`."""
    change = BASELINES.get(options.get("policy", ""), _unchanged)
    if change is not _unchanged:
        del options["policy"]
    settings = LLMOptions(**options)
    prompts = PromptEncoder(_byte_tokenizer(), ChatTemplate(None))
    timed = TimedModel(model, clock, step_s)
    core = LLMCore(timed, prompts, settings, settings.kv_tokens or 1 << 20, clock)
    core.planner.policy = change(core.planner.policy)
    return core


def replay(
    core: LLMCore,
    clock: VirtualClock,
    arrivals: Iterable[Arrival],
    after_step: Callable[[], None] = lambda: None,
    is_split: bool = False,
) -> list[Served]:
    """Serve them all; by time of arrival. `is_split`: a prefill, and when it is done a decode."""
    served = [Served(arrival) for arrival in sorted(arrivals, key=lambda a: a.at_s)]
    coming = served[::-1]
    live: dict[str, tuple[Served, Sequence]] = {}
    while coming or live:
        if not live:
            clock.now_s = max(clock.now_s, coming[-1].arrival.at_s)
        while coming and coming[-1].arrival.at_s <= clock.now_s:
            first, request_id = coming[-1].arrival, f"{len(coming):032x}"
            if is_split:
                request = Request(request_id, "prefill", (None, Tokens(tuple(first.ids))))
            else:
                request = request_of(first, request_id)
            core.add(request)
            live[request.id] = coming.pop(), core.planner.waiting[-1]
        outcomes = core.step()
        for one, sequence in live.values():
            while len(one.token_s) < len(sequence.ids) - sequence.num_prompt:
                one.token_s.append(clock.now_s)
        for request, outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            one, sequence = live.pop(request.id)
            one.ids = sequence.output_ids
            if request.op == "prefill":
                request = _decode((outcome.outputs[0],), one.arrival, request.id)
                core.add(request)
                live[request.id] = one, core.planner.waiting[-1]
        after_step()
    return served


def request_of(arrival: Arrival, request_id: str) -> Request:
    """Prompt and decode as one."""
    return _decode((None, Tokens(tuple(arrival.ids))), arrival, request_id)


def _decode(
    inputs: tuple[Context | Tokens | None, ...], arrival: Arrival, request_id: str
) -> Request:
    attrs = {"max_tokens": arrival.num_output}
    named: dict[str, Any] = {"priority": arrival.priority, "itl_s": arrival.itl_s}
    return Request(request_id, "decode", inputs, attrs, **named)


def _unchanged(policy: Policy) -> Policy:
    return policy


def _byte_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    rust = RustTokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    return Tokenizer(rust, eos_ids=())
