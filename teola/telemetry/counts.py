"""What a primitive cost, as attributes of its span."""

from collections.abc import Mapping
from typing import Any

from teola.telemetry.shape import Attributes, server_attributes

_OWN = ("remembered_items", "fused_tokens", "wasted_tokens", "estimated_tokens")


def end_attributes(kind: str, fields: Mapping[str, Any]) -> Attributes:
    """Of the event `end` of a primitive at an engine of a kind."""
    found: Attributes = _tokens(fields) if kind == "llm" else {}
    if reason := fields.get("finish_reason"):
        found["gen_ai.response.finish_reasons"] = [str(reason)]
    if items := int(fields.get("num_items", 0)):
        found["teola.items"] = items
    found |= {f"teola.{name}": int(fields[name]) for name in _OWN if fields.get(name)}
    if wasted_s := float(fields.get("wasted_s", 0.0)):
        found["teola.wasted_s"] = wasted_s
    if endpoint := str(fields.get("endpoint", "")):
        found |= server_attributes(endpoint.rpartition("://")[2].partition("/")[0])
    return found


def _tokens(fields: Mapping[str, Any]) -> Attributes:
    cached = int(fields.get("cached_tokens", 0))
    prompt = int(fields.get("prefill_tokens", 0)) + cached + int(fields.get("fused_tokens", 0))
    written = int(fields.get("decode_tokens", 0))
    return {
        "gen_ai.usage.input_tokens": prompt,
        "gen_ai.usage.cache_read.input_tokens": cached,
        "gen_ai.usage.output_tokens": written,
        "llm.token_count.prompt": prompt,
        "llm.token_count.prompt_details.cache_read": cached,
        "llm.token_count.completion": written,
        "llm.token_count.total": prompt + written,
    }
