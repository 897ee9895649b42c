"""`local:NAME`, `local:/path/to/folder` and `hf:ORG/NAME` to an embedder, not yet loaded."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from backends.base import Engine, EngineInfo
from backends.local_engine import LocalEngine, Runner
from backends.models import check_url, resolve
from backends.optional import optional_imports
from backends.options import Options, read_options


class EmbedderOptions(Options):
    """Options of a local embedder."""

    device: str | None = None  # None: CUDA where there is one, else the CPU
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    max_len: int | None = Field(default=None, ge=3)  # tokens a text; None: what the model states
    budget_tokens: int | None = Field(default=None, ge=1)  # of one forward pass, with padding
    max_batch_items: int = Field(default=256, ge=1)


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """The embedder of `url`; `start` loads it."""
    settings = read_options(EmbedderOptions, f"{kind} {url!r}", options)
    check_url(url)
    info = EngineInfo("embedder", url, max_batch_items=settings.max_batch_items)
    return LocalEngine(info, lambda: _load(url, settings))


def _load(url: str, settings: EmbedderOptions) -> Runner:
    with optional_imports("local"):
        from backends.embedder.encoder import load_encoder
        from backends.embedder.runner import EmbedRunner
    encoder = load_encoder(
        resolve(url), settings.device, settings.dtype, settings.max_len, settings.budget_tokens
    )
    return EmbedRunner(encoder)
