"""`teola serve-engine`."""

from collections.abc import Mapping, Sequence
from typing import Any

from teola.doctor.servers.asking import Asking, int_of
from teola.doctor.servers.checked import CheckedEngine

_COUNTED = ("teola_cached_tokens_total", "teola_prefilled_tokens_total", "teola_fused_tokens_total")


async def check(found: CheckedEngine, ask: Asking, cards: Sequence[Mapping[str, Any]]) -> None:
    """Reads its version, its models and its metrics."""
    found.version = (await ask.object("/version")).get("version")
    lengths = [int_of(card.get("max_model_len")) for card in cards]
    found.context_tokens = max(filter(None, lengths), default=None)
    metrics = await ask.metrics("teola_")
    found.metrics = metrics is not None
    if metrics is not None:
        found.hit_rate = metrics.ratio(_COUNTED[0], *_COUNTED)
    llms = [card for card in cards if card.get("kind") == "llm"]
    able = [name for card in llms for name in card.get("capabilities") or ()]
    if llms:
        found.prefix_cache = found.cached_counts = "cached_tokens" in able
    missing = [name for name in ("prefill", "fork", "token_ids") if llms and name not in able]
    if missing:
        found.hints.append(
            f"its LLM does not offer {', '.join(missing)}: engines of teola:// need the option "
            "tokenizer='server'"
        )
