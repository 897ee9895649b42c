"""The options of engines of `sglang:model`."""

from typing import Any

from pydantic import Field

from backends.options import Options


class SGLangOptions(Options):
    """`engine_args` are SGLang's own server arguments, by the names of its Python API."""

    engine_args: dict[str, Any] = Field(default_factory=dict)
    tokenizer: str | None = None  # catalog model, file, folder or Hub name; None: the model's
    context_len: int | None = Field(None, ge=1)  # below the model's own, to bound one request
    concurrency: int = Field(256, ge=1)  # requests at the engine at once; it makes the batches
    repeatable: bool = False  # equal requests get equal outcomes: they may be remembered
    dimensions: int | None = Field(None, ge=1)  # embedder: of the vectors; None: the model's own
