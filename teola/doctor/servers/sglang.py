"""SGLang 0.5, which tells at /server_info how it was started."""

from collections.abc import Mapping, Sequence
from typing import Any

from teola.doctor.servers.asking import Asking, int_of, items
from teola.doctor.servers.checked import CheckedEngine


async def check(found: CheckedEngine, ask: Asking, cards: Sequence[Mapping[str, Any]]) -> None:
    """Reads its settings, its metrics and its load."""
    info = await ask.object("/server_info") or await ask.object("/get_server_info")
    found.version = info.get("version")
    length = int_of(cards[0].get("max_model_len")) if cards else None
    found.context_tokens = length or int_of(info.get("context_length"))
    found.prefix_cache = _not(info, "disable_radix_cache")
    found.metrics = _is_on(info, "enable_metrics")
    found.priorities = _is_on(info, "enable_priority_scheduling")
    found.cached_counts = _is_on(info, "enable_cache_report")
    found.kv_events = bool(info["kv_events_config"]) if "kv_events_config" in info else None
    found.hit_rate = await _hit_rate(ask)
    found.advise(
        found.prefix_cache,
        "its radix cache is off, so that no prompt reuses another's KV: start it without "
        "--disable-radix-cache",
    )
    found.advise(
        found.metrics,
        "it has no /metrics, from which the hit rate of its cache since the start is read: start "
        "it with --enable-metrics",
    )
    found.advise(
        found.priorities,
        "it takes no priorities, so bulk work holds up latency-sensitive work: start it with "
        "--enable-priority-scheduling, which its order by prefix (lpm) excludes",
    )
    found.advise(
        found.cached_counts,
        "answers of its OpenAI routes do not say how much came from the cache: start it with "
        "--enable-cache-report",
    )
    found.advise(
        found.kv_events,
        "it does not tell which prefixes it holds, which only several endpoints of a URL need: "
        "start it with --kv-events-config",
    )
    if not info:
        found.hints.append("it has no /server_info, so its settings are unknown: update SGLang")


async def _hit_rate(ask: Asking) -> float | None:
    metrics = await ask.metrics("sglang:")
    if metrics is not None:
        rate = metrics.ratio("sglang:cached_tokens_total", "sglang:prompt_tokens_total")
        if rate is not None:
            return rate
    loads = items(await ask.object("/v1/loads?include=core"), "loads")
    rates = [load["cache_hit_rate"] for load in loads if "cache_hit_rate" in load]
    return max(map(float, rates), default=None)  # of the last prefill


def _is_on(info: Mapping[str, Any], name: str) -> bool | None:
    return bool(info[name]) if name in info else None


def _not(info: Mapping[str, Any], name: str) -> bool | None:
    return not info[name] if name in info else None
