"""What a server in text mode says of itself when an engine starts; nothing is assumed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from backends.errors import EngineError, EngineUnavailable, RequestRejected
from backends.remote.client import Client
from backends.remote.dialects.identify import check_kind
from backends.remote.errors import Forbidden
from backends.remote.listed_models import model_of
from backends.remote.teola_priority import rule_of
from backends.remote.url import RemoteURL

# These list every model that they answer for.
_OPEN = {"vllm": "vLLM", "sglang": "SGLang", "teola": "teola"}


@dataclass(frozen=True, slots=True)
class Probed:
    """Of one model of a server."""

    model: str
    max_context_tokens: int | None = None
    counts_cached: bool = False  # answers say how many prompt tokens came from a cache
    priority_sign: int = 1  # 0: the server takes no priorities, or does not say so
    priority_rule: str = "allow"  # of a teola server
    takes_places: bool = False
    takes_policy: bool = False
    fuses: bool = False  # it reuses the KV of chunks


async def probe(client: Client, url: RemoteURL) -> Probed:
    """Raises EngineUnavailable where the server or the model is not there, or the key is wrong."""
    if url.scheme == "ollama":
        return await _probe_ollama(client, url)
    # An API that is rented may list less than it has, or nothing to this key.
    cards = await _cards(client, is_needed=url.scheme in _OPEN or url.model is None)
    if url.scheme in _OPEN:
        check_kind(client, cards or (), _OPEN[url.scheme])
    if url.model is None:
        if cards is None:
            raise EngineUnavailable(
                f"{client.endpoint.root} does not list its models; name one: {url.text}/MODEL"
            )
        model = await model_of(client, url, "llm")
    else:
        model = url.model
    card = next((one for one in cards or () if model in (one.get("id"), one.get("root"))), None)
    if url.scheme in _OPEN and cards and card is None:
        raise EngineUnavailable(_no_model(client, model, [str(one.get("id")) for one in cards]))
    length = card.get("max_model_len") if card else None
    able = card.get("capabilities") if card and url.scheme == "teola" else None
    fuses = isinstance(able, list) and "fusion" in able
    known_length = length if isinstance(length, int) else None
    rule = rule_of(card if url.scheme == "teola" else None)
    places = url.scheme == "teola" and card is not None and card.get("takes_places") is True
    found = Probed(model, known_length, fuses=fuses, priority_rule=rule, takes_places=places)
    if places and card is not None and card.get("takes_policy") is True:
        found = replace(found, takes_policy=True)
    return await _with_settings(found, client) if url.scheme == "sglang" else found


async def _cards(client: Client, is_needed: bool) -> list[Mapping[str, Any]] | None:
    try:
        answer = await client.get("/v1/models")
    except RequestRejected:  # a server that has no such list
        return None
    except EngineUnavailable as error:
        if is_needed or not isinstance(error, Forbidden):  # a key that may only write texts
            raise
        return None
    except EngineError:
        if is_needed:
            raise
        return None
    cards = answer.get("data") if isinstance(answer, Mapping) else None
    return [card for card in cards or () if isinstance(card, Mapping)]


async def _with_settings(found: Probed, client: Client) -> Probed:
    """What SGLang says of how it was started."""
    try:
        about = await client.get("/server_info")
    except RequestRejected:
        about = None
    settings = about if isinstance(about, Mapping) else {}
    sign = -1 if settings.get("schedule_low_priority_values_first") is True else 1
    return replace(
        found,
        counts_cached=settings.get("enable_cache_report") is True,
        priority_sign=sign if settings.get("enable_priority_scheduling") is True else 0,
    )


async def _probe_ollama(client: Client, url: RemoteURL) -> Probed:
    await client.get("/api/version")
    listed = await client.get("/api/tags")
    names = [str(one["name"]) for one in (listed or {}).get("models") or ()]
    if url.model is None and len(names) == 1:
        return Probed(names[0])
    if url.model is None:
        have = ", ".join(names) or "none yet; `ollama pull NAME` fetches one"
        raise EngineUnavailable(
            f"{client.endpoint.root}: name a model in the URL, after a slash; it has {have}"
        )
    if not {url.model, f"{url.model}:latest"} & set(names):
        raise EngineUnavailable(
            f"{_no_model(client, url.model, names)}; fetch it with `ollama pull {url.model}`"
        )
    return Probed(url.model)


def _no_model(client: Client, model: str, names: list[str]) -> str:
    have = ", ".join(names) or "none"
    return f"{client.endpoint.root} has no model {model!r}; it has {have}"
