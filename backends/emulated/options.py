"""The options of emulated engines."""

from typing import Literal

from pydantic import Field

from backends.emulated.hardware import ENGINE_SIZES, Device, Dtype
from backends.llm.kv.eviction import EvictionName
from backends.llm.options import LLMOptions, PolicyName
from backends.options import Options


class EmulatedOptions(Options):
    """What engines of all kinds have."""

    device: str = ""  # engines that name the same share its time; "": a device of its own
    device_file: str | None = None  # instead of the URL's device
    model_file: str | None = None  # instead of the URL's model
    dtype: Dtype = "bfloat16"  # of the weights
    recording: str | None = None  # file of `run-graph --record`: answers are taken from it


class EmulatedLLMOptions(EmulatedOptions):
    """Those of the embedded engine that concern time and cache, and what it says."""

    detail: Literal["steps"] = (
        "steps"  # each one; "events" has options of its own: `events.options`
    )
    kv_dtype: Literal["float16", "bfloat16", "float8"] = "bfloat16"
    tokenizer: str = "local:smollm2-135m"  # a model, a file or folder, or "bytes"
    output_tokens: int | None = Field(None, ge=1)  # of made-up texts; None: 32 to 160, by prompt
    lengths: str | None = None  # a trace (`traces`): made-up texts are as long as its outputs
    page_size: int = Field(16, ge=1)  # tokens a page
    # These three: where they are not given, those of the device's file, if it has them
    kv_tokens: int | None = Field(None, ge=1)  # None: the device's memory without the weights
    token_budget: int = Field(2048, ge=1)  # most tokens computed in one step
    max_running: int = Field(128, ge=1)  # most sequences in one step
    policy: PolicyName = "auto"
    itl_ms: float | None = Field(None, gt=0)
    quantum_ms: float = Field(200, gt=0)
    patience_ms: float = Field(10_000, gt=0)
    watermark: float = Field(0.01, ge=0, lt=1)
    jump_forward: bool = True
    eviction: EvictionName = "next_use"
    pin_share: float = Field(0.5, ge=0, le=1)
    context_len: int | None = Field(None, ge=1)

    def on(self, device: Device) -> "EmulatedLLMOptions":
        """With the sizes that engines on that device have, where none are given."""
        sizes = {name: getattr(device, name) for name in ENGINE_SIZES}
        own = {name: size for name, size in sizes.items() if size is not None}
        return self.model_copy(
            update={name: size for name, size in own.items() if name not in self.model_fields_set}
        )

    def of_core(self) -> LLMOptions:
        """What the core is made with."""
        shared = self.model_fields_set & LLMOptions.model_fields.keys() - {"device", "dtype"}
        given = {name: getattr(self, name) for name in shared}
        defaults = {"token_budget": self.token_budget, "max_running": self.max_running}
        return LLMOptions(**{**defaults, **given})


class EmulatedTextOptions(EmulatedOptions):
    """Those of embedders and rerankers."""

    tokenizer: str | None = None  # local embedder whose tokens `tl.split` counts for this one
    max_batch_items: int = Field(256, ge=1)  # that the scheduler gives at once
    budget_tokens: int = Field(16384, ge=1)  # of one pass
