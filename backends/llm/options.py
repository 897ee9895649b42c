"""The options of an embedded LLM engine."""

from typing import Literal

from pydantic import Field

from backends.options import Options


class LLMOptions(Options):
    """All have working defaults; `auto` and None are settled when the model is loaded."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # float32 on CPU, bfloat16 on CUDA
    device: str = "auto"  # CUDA when there is one
    page_size: int = Field(16, ge=1)  # tokens a page
    kv_tokens: int | None = Field(None, ge=1)  # KV pool; 32768 on CPU, half the free CUDA memory
    token_budget: int = Field(512, ge=1)  # most tokens computed in one step
    max_running: int = Field(32, ge=1)  # most sequences that hold pages at once
    context_len: int | None = Field(None, ge=1)  # below the model's own, to bound one request
