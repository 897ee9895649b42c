"""vLLM 0.32. But in development mode no route tells its settings: they are read off its metrics and
its answers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from backends.errors import EngineError
from teola.doctor.servers.asking import Asking, int_of
from teola.doctor.servers.checked import CheckedEngine

_CACHING = re.compile(r'vllm:cache_config_info\{[^}]*enable_prefix_caching="(\w+)"')
_SETTINGS = "/server_info?config_format=json"  # with VLLM_SERVER_DEV_MODE=1
_HITS, _QUERIES = "vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"


async def check(found: CheckedEngine, ask: Asking, cards: Sequence[Mapping[str, Any]]) -> None:
    """Asks for a token, which shows whether priorities are refused and cached tokens told."""
    found.version = (await ask.object("/version")).get("version")
    found.context_tokens = int_of(cards[0].get("max_model_len")) if cards else None
    metrics = await ask.metrics("vllm:")
    found.metrics = metrics is not None
    if metrics is not None:
        caching = _CACHING.search(metrics.text)
        found.prefix_cache = None if caching is None else caching[1] == "True"
        found.hit_rate = metrics.ratio(_HITS, _QUERIES)
    sources = await ask.json("/kv_event_sources")
    found.kv_events = None if sources is None else bool(sources)
    if cards:
        await _ask_for_a_token(found, ask, str(cards[0]["id"]))
    found.advise(
        found.prefix_cache,
        "its prefix cache is off, so that no prompt reuses another's KV: start it with "
        "--enable-prefix-caching",
    )
    found.advise(
        found.metrics,
        "it has no metrics, by which requests are routed and this page tells its cache: start it "
        "without --disable-log-stats",
    )
    found.advise(
        found.priorities,
        "it takes no priorities, so bulk work holds up latency-sensitive work: start it with "
        "--scheduling-policy priority",
    )
    found.advise(
        found.cached_counts,
        "answers do not say how much of a prompt came from the cache: start it with "
        "--enable-prompt-tokens-details",
    )
    found.advise(
        found.kv_events,
        "it does not tell which prefixes it holds, which only several endpoints of a URL need: "
        "start it with --kv-events-config",
    )


async def _ask_for_a_token(found: CheckedEngine, ask: Asking, model: str) -> None:
    """Are priorities taken, and are cached tokens told?"""
    body = {"model": model, "prompt": [0], "max_tokens": 1}
    try:
        answer = await ask.post("/v1/completions", {**body, "priority": -1})
        if isinstance(answer, str):
            found.priorities = False if "priorit" in answer.lower() else None
            answer = await ask.post("/v1/completions", body)
        else:  # 0.32 takes them under every policy
            found.priorities = _is_by_priority(await ask.object(_SETTINGS))
    except EngineError:
        return
    usage = {} if isinstance(answer, str) else answer.get("usage")
    if isinstance(usage, Mapping) and usage:
        found.cached_counts = usage.get("prompt_tokens_details") is not None


def _is_by_priority(settings: Mapping[str, Any]) -> bool | None:
    config = settings.get("vllm_config")
    scheduler = config.get("scheduler_config") if isinstance(config, Mapping) else None
    policy = scheduler.get("policy") if isinstance(scheduler, Mapping) else None
    return None if policy is None else policy == "priority"
