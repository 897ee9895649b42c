"""Makes embedded LLM engines from `local:` and `hf:` URLs; nothing is loaded before `start`."""

from collections.abc import Mapping
from typing import Any

from backends.base import Engine
from backends.devices import device_name
from backends.errors import ConfigError
from backends.llm.engine import LLMEngine, capabilities_with
from backends.llm.fusion_gate import FusionGate
from backends.llm.options import LLMOptions, check_read
from backends.llm.stepped_core import SteppedCore
from backends.models.fetch import check_url, resolve
from backends.native.build import build_in_background
from backends.optional import optional_imports
from backends.options import read_options


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """An engine for `local:<file, folder or catalogue name>` or `hf:org/name`. Raises ConfigError
    for a wrong kind, URL or option; where the model is missing, `start` says what to do."""
    if kind != "llm":
        raise ConfigError(f"backends.llm makes engines of kind 'llm', not {kind!r}")
    check_url(url)
    settings = read_options(LLMOptions, f"llm engine {url!r}", options)
    check_read(settings)

    def load() -> SteppedCore:
        if settings.kernels != "torch" and settings.device != "cuda":
            build_in_background()
        with optional_imports("local"):
            from backends.llm.loader import load_core
        return load_core(resolve(url), settings)

    return LLMEngine(
        url,
        settings.max_running,
        load,
        device=device_name(settings.device),
        capabilities=capabilities_with(settings.eviction),
        page_size=settings.page_size,
        fusion_gate=FusionGate(url, settings.fusion_floor),
    )
