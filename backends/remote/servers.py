"""What servers with OpenAI's routes take beside OpenAI's own fields, and under which names.

`fields` maps an attribute of a decode to the body's field; what it lacks is refused. `always` is
sent with every request: without it a model's own generation config would count.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Forms = Literal["openai", "vllm", "sglang", "teola"]  # how structured output is asked for

_OPENAI = ("top_p", "stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias")
_OPEN = (
    *_OPENAI,
    "top_k",
    "min_p",
    "min_tokens",
    "stop_token_ids",
    "ignore_eos",
    "repetition_penalty",
)
_NEUTRAL = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


@dataclass(frozen=True, slots=True)
class TextServer:
    """A kind of server, as text mode sees it."""

    name: str  # for messages
    forms: Forms
    fields: Mapping[str, str]
    always: Mapping[str, Any] = field(default_factory=dict)
    goes_on: Mapping[str, bool] | None = None  # fields that let an answer go on; None: it cannot
    adapter: str = ""  # field of a LoRA adapter
    cache_salt: str = ""
    request_id: str = ""
    priority: str = ""
    is_low_first: bool = False  # a small priority is the urgent one
    has_numbers: bool = False  # any integer is a priority
    abort_path: str = ""  # takes the request's id; empty: closing the connection aborts
    has_texts: bool = True  # /v1/completions takes prompts without turns
    seeds_count_up: bool = True  # n samples have the seeds seed, seed + 1 ...
    counts_cached: bool = False  # always says how many prompt tokens came from a cache
    is_seeded: bool = True  # equal seeds give equal samples


def _same(names: tuple[str, ...]) -> dict[str, str]:
    return {name: name for name in names}


OPENAI = TextServer(
    "OpenAI's API",
    forms="openai",
    fields=_same(_OPENAI),
    has_texts=False,
    seeds_count_up=False,
    is_seeded=False,
)
VLLM = TextServer(
    "vLLM",
    forms="vllm",
    fields=_same(_OPEN),
    always=_NEUTRAL,
    goes_on={"continue_final_message": True, "add_generation_prompt": False},
    adapter="model",
    cache_salt="cache_salt",
    request_id="request_id",
    priority="priority",
    is_low_first=True,
    has_numbers=True,
)
SGLANG = TextServer(
    "SGLang",
    forms="sglang",
    fields=_same(_OPEN),
    always=_NEUTRAL,
    goes_on={"continue_final_message": True},
    adapter="lora_path",
    cache_salt="cache_salt",
    request_id="rid",
    priority="priority",
    has_numbers=True,
    abort_path="/abort_request",
    seeds_count_up=False,
)
TEOLA = TextServer(
    "teola's server",
    forms="teola",
    fields=_same((*_OPEN, "speculate")),
    goes_on={"continue_final_message": True},
    adapter="model",
    cache_salt="cache_salt",
    priority="priority",
    counts_cached=True,
)
OLLAMA = TextServer(
    "Ollama",
    forms="openai",  # not used: its dialect writes all by itself
    fields={},
    seeds_count_up=False,
)
