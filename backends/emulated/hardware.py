"""What a step needs to know of a device and of a model; both come from files (`descriptions`).

Bytes and FLOPs follow from a model's shape, with P the parameters of all linear layers:

    P = layers * (2 * hidden * heads * head_dim + 2 * hidden * kv_heads * head_dim
                  + matrices * hidden * intermediate)      matrices: 3 in decoders, 2 in encoders
    bytes of a token's KV = 2 * layers * kv_heads * head_dim * bytes of a number
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Dtype = Literal["float32", "float16", "bfloat16", "float8", "int8", "int4"]
NUMBER_BYTES: dict[Dtype, float] = {
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8": 1,
    "int8": 1,
    "int4": 0.5,
}
_COMPUTED_IN: dict[Dtype, tuple[Dtype, ...]] = {  # what stands in where a device lacks one
    "float8": ("float8", "bfloat16", "float16", "float32"),
    "int8": ("int8", "bfloat16", "float16", "float32"),
    "int4": ("bfloat16", "float16", "float32"),  # weights alone: products are of 16 bits
    "bfloat16": ("bfloat16", "float16", "float32"),
    "float16": ("float16", "bfloat16", "float32"),
    "float32": ("float32",),
}

ENGINE_SIZES = ("token_budget", "max_running", "kv_tokens")  # options that a device may have

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Table = Annotated[dict[int, Share], Field(min_length=1)]


class Described(BaseModel):
    """One entry of a description file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = ""  # where the figures are from


class Device(Described):
    """An accelerator, or a machine's CPU. Efficiencies are shares of the peaks that a step gets."""

    peak_flops: Annotated[dict[Dtype, Positive], Field(min_length=1)]  # FLOP/s by format, dense
    bandwidth_bytes_s: Positive  # of the memory
    memory_bytes: Positive
    efficiency: Share | Table = 0.65  # of linear layers; a table: by rows of the step
    attention_efficiency: Share = 0.35  # of attention's FLOPs
    decode_attention_efficiency: Share | None = None  # of spans of one row; None: the same
    bandwidth_efficiency: Share = 0.8
    step_overhead_s: NotNegative = 0.0006  # launches, scheduling, sampling of any step
    layer_overhead_s: NotNegative = 4e-6  # of each layer's kernels
    row_overhead_s: NotNegative = 6e-6  # of each sequence in a step
    between_steps_s: NotNegative = 0.0  # before each step of an LLM; the device is idle
    link_bytes_s: Positive = 32e9  # to the other devices of one model, one direction
    link_latency_s: NotNegative = 8e-6  # of an all-reduce
    token_budget: Count | None = None  # of an LLM engine on it, where its options name none
    max_running: Count | None = None  # likewise
    kv_tokens: Count | None = None  # likewise

    def peak(self, dtype: Dtype) -> float:
        """FLOP/s for weights of `dtype`, in the format that this device computes them in."""
        known = [self.peak_flops[name] for name in _COMPUTED_IN[dtype] if name in self.peak_flops]
        return known[0] if known else max(self.peak_flops.values())

    def attention_efficiency_of(self, num_rows: int) -> float:
        """Of a span of so many rows."""
        if num_rows == 1 and self.decode_attention_efficiency is not None:
            return self.decode_attention_efficiency
        return self.attention_efficiency

    def efficiency_at(self, num_rows: int) -> float:
        """Of linear layers of so many rows; between two entries of a table, the time of a FLOP by
        proportion."""
        if isinstance(self.efficiency, float):
            return self.efficiency
        table = sorted(self.efficiency.items())
        before = table[0]
        for after in table:
            if num_rows <= after[0]:
                span = after[0] - before[0]
                share = max(0.0, (num_rows - before[0]) / span) if span > 0 else 0.0
                return 1 / ((1 - share) / before[1] + share / after[1])
            before = after
        return before[1]


class Shape(Described):
    """A transformer's sizes."""

    kind: Literal["llm", "embedder", "reranker"] = "llm"
    layers: Count
    hidden: Count
    intermediate: Count
    heads: Count
    kv_heads: Count | None = None  # None: as many as heads
    head_dim: Count | None = None  # None: hidden / heads
    vocab: Count
    max_tokens: Count  # of a sequence
    tied_embeddings: bool = False  # the last layer is the embedding table

    @model_validator(mode="after")
    def _divides(self) -> "Shape":
        if self.heads % self.num_kv_heads:
            raise ValueError(f"'kv_heads' ({self.kv_heads}) must divide 'heads' ({self.heads})")
        if self.head_dim is None and self.hidden % self.heads:
            raise ValueError(
                f"'heads' ({self.heads}) must divide 'hidden' ({self.hidden}), or give 'head_dim'"
            )
        return self

    @property
    def head_size(self) -> int:
        return self.head_dim or self.hidden // self.heads

    @property
    def num_kv_heads(self) -> int:
        return self.kv_heads or self.heads

    @property
    def is_causal(self) -> bool:
        """A token attends only to those before it."""
        return self.kind == "llm"

    @property
    def layer_params(self) -> int:
        """Parameters of all linear layers, without the embedding table and the last layer."""
        attention = 2 * self.hidden * self.head_size * (self.heads + self.num_kv_heads)
        matrices = 3 if self.kind == "llm" else 2  # gated, as Llama has it; plain, as BERT has it
        return self.layers * (attention + matrices * self.hidden * self.intermediate)

    @property
    def head_params(self) -> int:
        """Parameters of the last layer, which makes logits."""
        return self.hidden * self.vocab if self.kind == "llm" else self.hidden

    @property
    def num_params(self) -> int:
        tables = 1 if self.tied_embeddings or self.kind != "llm" else 2
        return self.layer_params + tables * self.hidden * self.vocab

    def weight_bytes(self, dtype: Dtype) -> float:
        return self.num_params * NUMBER_BYTES[dtype]

    def kv_bytes(self, dtype: Dtype) -> float:
        """Of one token."""
        return 2 * self.layers * self.num_kv_heads * self.head_size * NUMBER_BYTES[dtype]
