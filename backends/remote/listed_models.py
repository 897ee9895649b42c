"""Which model of a server an engine speaks with, where its URL names none."""

from collections.abc import Iterable, Mapping
from typing import Any

from backends.base import Kind
from backends.errors import EngineUnavailable
from backends.remote.client import Client
from backends.remote.url import RemoteURL

_NUM_SHOWN = 10


async def model_of(client: Client, url: RemoteURL, kind: Kind) -> str:
    """The URL's model, or the only one that the server lists for `kind`. Raises EngineUnavailable,
    which names the choices."""
    if url.model is not None:
        return url.model
    names = _names_of(await client.get("/v1/models"), kind)
    if len(names) == 1:
        return names[0]
    if not names:
        raise EngineUnavailable(
            f"{client.endpoint.root} lists no {kind}; name one: {url.text}/MODEL"
        )
    shown = ", ".join(names[:_NUM_SHOWN]) + (", ..." if len(names) > _NUM_SHOWN else "")
    raise EngineUnavailable(
        f"{client.endpoint.root} has several models; name one in the URL, after a slash: {shown}"
    )


def _names_of(answer: Any, kind: Kind) -> list[str]:
    cards = answer.get("data") if isinstance(answer, Mapping) else None
    return list(_of_kind(cards if isinstance(cards, list) else [], kind))


def _of_kind(cards: Iterable[Any], kind: Kind) -> Iterable[str]:
    """teola's server says each model's kind; vLLM lists adapters beside the model, as its own."""
    for card in cards:
        if isinstance(card, Mapping) and isinstance(card.get("id"), str):
            is_adapter = card.get("parent") is not None
            if card.get("kind", kind) == kind and not is_adapter:
                yield card["id"]
