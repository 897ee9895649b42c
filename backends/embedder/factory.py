"""`local:NAME`, `local:/path/to/folder` and `hf:ORG/NAME` to an embedder, not yet loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.base import Engine, EngineInfo
from backends.bert.forward_passes import TextRunner
from backends.bert.options import BertOptions
from backends.devices import device_name
from backends.models.fetch import check_url, resolve
from backends.models.model_files import reading
from backends.native.build import build_in_background
from backends.optional import optional_imports
from backends.options import read_options
from backends.text_engine import NUM_SLOTS, TextEngine


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """The embedder of `url`; `start` loads it."""
    settings = read_options(BertOptions, f"{kind} {url!r}", options)
    check_url(url)
    info = EngineInfo(
        "embedder",
        url,
        settings.max_batch_items,
        NUM_SLOTS,
        frozenset({"repeatable", "token_ids"}),
        device=device_name(settings.device),
    )
    return TextEngine(info, lambda: _load(url, settings))


def _load(url: str, settings: BertOptions) -> TextRunner[Any, Any]:
    if settings.kernels != "torch" and settings.device != "cuda":
        build_in_background()
    return load_embedder(resolve(url), settings)


def load_embedder(folder: Path, settings: BertOptions) -> TextRunner[Any, Any]:
    """Raises ConfigError and EngineUnavailable, which name what is wrong in the folder."""
    with optional_imports("local"):
        from backends.embedder.encoder import load_encoder
        from backends.embedder.runner import EmbedRunner
    with reading(folder):
        return EmbedRunner(load_encoder(folder, settings))
