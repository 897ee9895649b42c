"""Ollama, which tells what is pulled, what is loaded and where, and no settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from teola.doctor.servers.asking import Asking, int_of, items
from teola.doctor.servers.checked import CheckedEngine


async def check(found: CheckedEngine, ask: Asking, cards: Sequence[Mapping[str, Any]]) -> None:  # noqa: ARG001
    """Reads its version, its models, and those that are loaded."""
    found.version = (await ask.object("/api/version")).get("version")
    found.models = [str(one.get("name")) for one in items(await ask.object("/api/tags"), "models")]
    loaded = items(await ask.object("/api/ps"), "models")
    lengths = [int_of(one.get("context_length")) for one in loaded]
    found.context_tokens = max(filter(None, lengths), default=None)
    found.metrics = found.priorities = found.kv_events = False  # there are none to switch on
    found.cached_counts = False
    if not found.models:
        found.problems.append("it has no model yet: `ollama pull NAME` fetches one")
    for one in loaded:
        size, on_gpu = int_of(one.get("size")) or 0, int_of(one.get("size_vram")) or 0
        if 0 < on_gpu < size:
            found.hints.append(
                f"{on_gpu / size:.0%} of {one.get('name')} is on the GPU, the rest on the CPU: a "
                "smaller context (OLLAMA_CONTEXT_LENGTH) or quantization fits"
            )
    found.hints.append(
        "it keeps the prefix of each slot's last prompt only, and tells nothing of it: set "
        "OLLAMA_NUM_PARALLEL for more slots; vLLM, SGLang and `teola serve-engine` have prefix "
        "caches"
    )
