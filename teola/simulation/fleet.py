"""Which emulated engines stand for those of an app: `2xh100` is two H100s for each LLM, behind one
name, and one for each embedder and reranker."""

from collections.abc import Mapping
from urllib.parse import quote

from pydantic import ValidationError

from backends.emulated.descriptions import catalogue, device_of
from backends.emulated.factory import instances_in
from backends.emulated.options import EmulatedLLMOptions
from backends.registry import EngineSpec

STAND_INS = {
    "llm": "llama-3.1-8b",
    "embedder": "bge-large",
    "reranker": "bge-reranker-large",
}
_SCHEME = "emulated:"


def fleet_of(
    engines: Mapping[str, EngineSpec],
    device: str,
    chosen: Mapping[str, str],
    trace: str | None = None,
    policy: str | None = None,
) -> dict[str, str]:
    """A URL for each engine that computes in real time, by the engine's name; those `chosen` and
    those emulated already stay. A model that the catalogue knows stays that model. With a trace,
    what LLMs write is as long as its outputs; with a policy their steps keep its order, where they
    have it. Raises ConfigError."""
    count, one = instances_in(f"{_SCHEME}{device}")
    name = one.removeprefix(_SCHEME)
    device_of(name)
    found: dict[str, str] = {}
    for engine, spec in engines.items():
        if spec.kind not in STAND_INS:
            continue
        url = chosen.get(engine, spec.url)
        if not url.startswith((_SCHEME, "fake:")):
            several = f"{count}x" if count > 1 and spec.kind == "llm" else ""
            url = f"{_SCHEME}{several}{name}/{_model_for(spec)}"
        is_emulated_llm = spec.kind == "llm" and url.startswith(_SCHEME)
        found[engine] = with_policy(_with_lengths(url, trace), policy) if is_emulated_llm else url
    return found


def orders_steps(policy: str) -> bool:
    """Whether the engines know a policy of that name; else it orders what waits before them."""
    try:
        EmulatedLLMOptions.model_validate({"policy": policy})
    except ValidationError:
        return False
    return True


def with_policy(url: str, policy: str | None) -> str:
    """The URL of an LLM whose steps keep the order of a policy too, where engines have it."""
    if policy is None or "policy=" in url or not orders_steps(policy):
        return url
    return _with_option(url, "policy", policy)


def _with_lengths(url: str, trace: str | None) -> str:
    if trace is None or "lengths=" in url:
        return url
    return _with_option(url, "lengths", trace)


def _with_option(url: str, name: str, value: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{name}={quote(value, safe='/')}"


def _model_for(spec: EngineSpec) -> str:
    """The catalogue's model that the engine runs, or else the one that stands for its kind."""
    last = spec.url.partition("?")[0].partition(":")[2].rpartition("/")[2].lower()
    for name, entry in catalogue("models").items():
        if last.startswith(name) and entry.get("kind", "llm") == spec.kind:
            return name
    return STAND_INS[spec.kind]
