"""The options that every engine on a BERT has."""

from typing import Literal

from pydantic import Field

from backends.options import Options

DtypeName = Literal["auto", "float32", "float16", "bfloat16", "int16"]
KernelsName = Literal["auto", "native", "torch"]


class BertOptions(Options):
    """All have working defaults; `auto` and None are settled when the model is loaded."""

    device: str | None = None  # None: CUDA where there is one, else the CPU
    # int16: C++ kernels only; the top ten are float32's in 99 % of searches. auto: int16 where they
    # run, else float32. bfloat16 moves a tenth place in 3 % of searches.
    dtype: DtypeName = "auto"
    kernels: KernelsName = "auto"  # CPU: C++ where it can be built
    threads: int | None = Field(default=None, ge=1)  # CPU: all cores this process may use
    max_len: int | None = Field(default=None, ge=3)  # tokens a text; None: what the model states
    budget_tokens: int | None = Field(default=None, ge=1)  # of one pass; None: measured to be good
    max_batch_items: int = Field(default=256, ge=1)  # that the scheduler gives at once
