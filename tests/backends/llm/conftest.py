"""Tiny random models, the real SmolLM2, and a driver that steps a core by hand."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.base import Context, Request, Result
from backends.errors import EngineUnavailable
from backends.llm.core import LLMCore
from backends.llm.loader import ModelOnDisk, open_model
from backends.llm.model.native.native_model import NativeModel, why_not
from backends.llm.model.torch_model.llama import LlamaModel
from backends.llm.options import LLMOptions
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.text.chat import ChatTemplate
from backends.native.library import library


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """On a shared machine two spinning threads are many times slower than one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Driver:
    """Runs requests on a core; the books are checked after every step."""

    def __init__(self, core: LLMCore) -> None:
        self.core = core
        self.num_requests = 0
        self.outcomes: dict[str, Any] = {}

    def submit(self, op: str, *inputs: Any, emit: Any = None, **attrs: Any) -> str:
        self.num_requests += 1
        request = Request(f"{self.num_requests:032x}", op, inputs, attrs, emit=emit)
        self.core.add(request)
        return request.id

    def step(self) -> None:
        self.outcomes.update({request.id: out for request, out in self.core.step()})
        self.core.check_integrity()

    def run(self, *ids: str) -> list[Any]:
        """Step until all is done; the outcomes of `ids`."""
        for _ in range(20_000):
            if not self.core.has_work:
                return [self.outcomes[request_id] for request_id in ids]
            self.step()
        raise AssertionError("the core never finished")

    def call(self, op: str, *inputs: Any, **attrs: Any) -> Result:
        (outcome,) = self.run(self.submit(op, *inputs, **attrs))
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Result)
        return outcome

    def prefill(self, context: Context | None, *parts: Any) -> Any:
        return self.call("prefill", context, *parts).outputs[0]

    def decode(self, context: Context | None, *parts: Any, **attrs: Any) -> Result:
        return self.call("decode", context, *parts, **attrs)


class LoadedModel:
    """A model on disk, loaded once; cores over it are cheap."""

    def __init__(
        self,
        found: ModelOnDisk,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        kernels: str = "torch",
        keep_blocks: bool = False,
        isa: str | None = None,
    ) -> None:
        self.found = found
        self.model: Any
        if kernels == "native":
            self.model = NativeModel(found.config, found.source(), dtype, keep_blocks, 1, isa)
        else:
            self.model = LlamaModel(found.config, found.load(dtype, torch.device(device)))

    def moved(
        self,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        kernels: str = "torch",
        keep_blocks: bool = False,
        isa: str | None = None,
    ) -> "LoadedModel":
        return LoadedModel(self.found, device, dtype, kernels, keep_blocks, isa)

    @property
    def tokenizer(self) -> Any:
        return self.found.tokenizer

    def driver(
        self,
        kv_tokens: int = 2048,
        stops: bool = True,
        clock: Callable[[], float] = time.perf_counter,
        draft: "LoadedModel | None" = None,
        **options: Any,
    ) -> Driver:
        """`stops=False`: nothing ends a decode but max_tokens."""
        prompts = PromptEncoder(self.tokenizer, ChatTemplate(self.found.template))
        if not stops:
            prompts.stop_ids = frozenset()
        settings = LLMOptions(**options)
        guesser = draft.model if draft is not None else None
        return Driver(LLMCore(self.model, prompts, settings, kv_tokens, clock, draft=guesser))


def transformers_tokens(folder: Path, ids: list[int], num_new: int) -> list[int]:
    """Greedy tokens by transformers in float32, past any end of text."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.generation_config.eos_token_id = None
    with torch.no_grad():
        tokens = torch.tensor([ids])
        mask = torch.ones_like(tokens)
        out = model.generate(tokens, attention_mask=mask, max_new_tokens=num_new, do_sample=False)
    return out[0, len(ids) :].tolist()


def greedy_tokens(driver: Driver, prompts: Sequence[str], num_new: int) -> list[list[int]]:
    """Tokens of prompts prefilled and then decoded side by side."""
    prefills = driver.run(*(driver.submit("prefill", None, p) for p in prompts))
    contexts = [p.outputs[0] for p in prefills]
    results = driver.run(*(driver.submit("decode", c, max_tokens=num_new) for c in contexts))
    pairs = zip(results, contexts, strict=True)
    return [r.outputs[1].ids[c.num_tokens :] for r, c in pairs]


@pytest.fixture(scope="session")
def oracle_tokens() -> Callable[[Path, list[int], int], list[int]]:
    return transformers_tokens


@pytest.fixture(scope="session")
def greedily() -> Callable[[Driver, Sequence[str], int], list[list[int]]]:
    return greedy_tokens


@pytest.fixture(scope="session")
def smollm_path() -> Path:
    from backends.models.fetch import locate

    try:
        return locate("smollm2-135m")
    except EngineUnavailable as missing:
        pytest.fail(str(missing))  # no skip: `make test` fetches it first


@pytest.fixture(scope="session", params=["torch" if library() is None else "native"])
def smollm(smollm_path: Path, request: pytest.FixtureRequest) -> LoadedModel:
    """On the kernels that run here by default, which the names of the tests say."""
    found = open_model(smollm_path)
    if request.param == "native":
        assert why_not(found.config, page_size=16) is None
    return LoadedModel(found, kernels=request.param)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Callable[..., Path]) -> LoadedModel:
    return LoadedModel(open_model(tiny_folder()))


@pytest.fixture(scope="session")
def load_tiny(tiny_folder: Callable[..., Path]) -> Callable[..., LoadedModel]:
    return lambda arch="llama", device="cpu", **changes: LoadedModel(
        open_model(tiny_folder(arch, **changes)), device
    )
