"""The options of `detail=events`."""

from typing import Literal

from pydantic import Field, field_validator

from backends.emulated.hardware import Dtype
from backends.options import Options
from backends.policy.named import POLICIES


class EventOptions(Options):
    """Those of `EmulatedLLMOptions` that it follows; the others are refused."""

    detail: Literal["events"] = "events"
    device_file: str | None = None
    model_file: str | None = None
    dtype: Dtype = "bfloat16"
    kv_dtype: Literal["float16", "bfloat16", "float8"] = "bfloat16"
    output_tokens: int | None = Field(None, ge=1)
    lengths: str | None = None
    page_size: int = Field(16, ge=1)
    kv_tokens: int | None = Field(None, ge=1)
    token_budget: int = Field(2048, ge=1)
    max_running: int = Field(128, ge=1)
    watermark: float = Field(0.01, ge=0, lt=1)
    context_len: int | None = Field(None, ge=1)
    policy: str = "fcfs"  # one of `backends.policy`

    @field_validator("policy")
    @classmethod
    def _is_known(cls, policy: str) -> str:
        if policy not in POLICIES:
            raise ValueError(f"there is no policy {policy!r}; known: {', '.join(POLICIES)}")
        return policy
