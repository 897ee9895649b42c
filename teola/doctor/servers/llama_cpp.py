"""llama.cpp's `llama-server`, which tells its settings at /props."""

from collections.abc import Mapping, Sequence
from typing import Any

from teola.doctor.servers.asking import Asking, int_of
from teola.doctor.servers.checked import CheckedEngine


async def check(found: CheckedEngine, ask: Asking, cards: Sequence[Mapping[str, Any]]) -> None:
    """Reads its properties and whether it has metrics."""
    props = await ask.object("/props")
    found.version = props.get("build_info")
    settings = props.get("default_generation_settings")
    settings = settings if isinstance(settings, Mapping) else {}
    found.context_tokens = int_of(settings.get("n_ctx"))
    params = settings.get("params")
    params = params if isinstance(params, Mapping) else settings
    if "cache_prompt" in params:
        found.prefix_cache = bool(params["cache_prompt"])
    elif props:
        found.prefix_cache = True  # of each slot, unless a request says otherwise
    found.metrics = await ask.metrics("llamacpp:") is not None
    found.priorities = False  # there are none to switch on
    found.advise(
        found.prefix_cache, "slots do not keep their prompts: start it without --no-cache-prompt"
    )
    found.advise(found.metrics, "it has no /metrics: start it with --metrics")
    if props.get("total_slots") == 1:
        found.hints.append(
            "it answers one request at a time, and each slot keeps one prompt: start it with "
            "--parallel 4, and --ctx-size four times as large"
        )
    if not cards and not props:
        found.hints.append("it tells neither models nor /props: start it with --props, or update")
