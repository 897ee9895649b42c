"""The options of an embedded LLM engine."""

from typing import Literal

from pydantic import Field

from backends.errors import ConfigError
from backends.llm.kv.eviction import EvictionName
from backends.options import Options

KVTierFormat = Literal["raw", "int8", "cachegen"]
PolicyName = Literal[
    "auto",  # what queries ask for (`using(policy=)`), else application_aware
    "fcfs",
    "sarathi",
    "lpm",
    "mlfq",
    "slo",
    "application_aware",  # from here on those of `backends.policy`
    "atlas",
    "critical_path",
    "dlpm",
    "justitia",
    "least_slack",
    "parrot",
    "per_invocation",
    "plas",
    "shortest_remaining",
    "topology",
    "topology_published",
    "vtc",
]


class LLMOptions(Options):
    """All have working defaults; `auto` and None are settled when the model is loaded."""

    dtype: Literal["auto", "float32", "bfloat16", "int8"] = "auto"  # the fastest as good as float32
    device: str = "auto"  # CUDA when there is one
    kernels: Literal["auto", "native", "torch"] = "auto"  # auto: C++ on CPU, Triton on CUDA
    weights: Literal["auto", "stored", "full"] = "auto"  # native: keep 4-bit and 8-bit weights
    threads: int | None = Field(None, ge=1, le=1024)  # CPU: all cores this process may use
    page_size: int = Field(16, ge=1)  # tokens a page
    kv_tokens: int | None = Field(None, ge=1)  # KV pool; None: what fits the memory
    token_budget: int = Field(512, ge=1)  # most tokens computed in one step
    max_running: int = Field(32, ge=1)  # most sequences in one step
    policy: PolicyName = "auto"  # order of execution: see `planner.policies`
    itl_ms: float | None = Field(None, gt=0)  # wanted time between tokens; sizes each step by it
    quantum_ms: float = Field(200, gt=0)  # mlfq: what the first level may use
    # priorities, lpm, mlfq, application_aware: wait after which a request is not overtaken
    patience_ms: float = Field(10_000, gt=0)
    watermark: float = Field(0.01, ge=0, lt=1)  # share of pages that starting leaves free
    jump_forward: bool = True  # tokens that a grammar forces cost no step of their own
    speculation: Literal["off", "ngram", "draft"] = "off"  # guess tokens ahead while that pays
    guesses: int = Field(4, ge=1, le=32)  # most tokens guessed for a sequence in one step
    draft: str | None = None  # model that guesses (path, local:, hf:), of the same vocabulary
    adapters: dict[str, str] = Field(default_factory=dict)  # LoRA: name -> folder that PEFT saved
    eviction: EvictionName = "next_use"  # eviction order: see `eviction`
    pin_share: float = Field(0.5, ge=0, le=1)  # most of the pool that pins may take
    host_kv_tokens: int | None = Field(None, ge=1)  # evicted KV kept in host memory
    disk_kv: str | None = None  # folder for evicted KV, kept over restarts
    disk_kv_bytes: int = Field(10 << 30, ge=1)  # most bytes there, of all models and processes
    # form of KV there; int8 and cachegen are smaller and lossy: see `tiers.quantizers`
    kv_tier_format: KVTierFormat = "raw"
    context_len: int | None = Field(None, ge=1)  # below the model's own, to bound one request
    fusion_floor: float | None = Field(None, le=1)  # least R of a fusion plan; None: the profile's


def check_read(options: LLMOptions) -> None:
    """Raises ConfigError for an option that was given and that nothing would read."""
    has_tier = options.host_kv_tokens is not None or options.disk_kv is not None
    needs = {
        "quantum_ms": (options.policy == "mlfq", "policy='mlfq'"),
        "guesses": (options.speculation != "off", "speculation='ngram' or 'draft'"),
        "kv_tier_format": (has_tier, "host_kv_tokens or disk_kv"),
        "disk_kv_bytes": (options.disk_kv is not None, "disk_kv"),
    }
    for name, (is_read, what) in needs.items():
        if name in options.model_fields_set and not is_read:
            raise ConfigError(f"option {name!r} changes nothing without {what}")
