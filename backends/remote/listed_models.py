"""Which model of a server an engine speaks with."""

from collections.abc import Mapping, Sequence
from typing import Any

from backends.base import Kind
from backends.errors import EngineUnavailable
from backends.remote.errors import NotFound
from backends.remote.server_client import ServerClient
from backends.remote.url import RemoteURL

_NUM_SHOWN = 10


async def model_of(client: ServerClient, url: RemoteURL, kind: Kind) -> str:
    """The URL's model, or the only one that the server lists for `kind`.

    Raises EngineUnavailable, which names the choices, also where the server has no such model: some
    answer with another. An API that is rented (openai://) may list less than it has.
    """
    if url.model is not None and url.scheme == "openai":
        return url.model
    try:
        cards = _cards_of(await client.get("/v1/models"), kind)
    except NotFound:
        if url.model is None:
            raise
        return url.model
    root = client.endpoint.root
    if url.model is None:
        bases = [card["id"] for card in cards if card.get("parent") is None]
        return _only(bases, root, kind, url)
    if not any(url.model in _names_of(card) for card in cards):
        has = _shown([card["id"] for card in cards]) or "none"
        raise EngineUnavailable(f"{root} has no {kind} {url.model!r}; it has {has}")
    return url.model


def _only(names: Sequence[str], root: str, kind: Kind, url: RemoteURL) -> str:
    if len(names) == 1:
        return names[0]
    if not names:
        raise EngineUnavailable(f"{root} lists no {kind}; name one: {url.text.rstrip('/')}/MODEL")
    raise EngineUnavailable(
        f"{root} has several models; name one in the URL, after a slash: {_shown(names)}"
    )


def _shown(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _NUM_SHOWN else ""
    return ", ".join(names[:_NUM_SHOWN]) + more


def _cards_of(answer: Any, kind: Kind) -> Sequence[Mapping[str, Any]]:
    """Of the kind, where the server says it, as teola's does. vLLM lists adapters as well, with the
    model as their parent."""
    cards = answer.get("data") if isinstance(answer, Mapping) else None
    return [
        card
        for card in (cards if isinstance(cards, list) else ())
        if isinstance(card, Mapping)
        and isinstance(card.get("id"), str)
        and card.get("kind", kind) == kind
    ]


def _names_of(card: Mapping[str, Any]) -> tuple[str, ...]:
    """Its own, the folder or URL that it was loaded from, and Ollama's without the usual tag."""
    return card["id"], str(card.get("root")), card["id"].removesuffix(":latest")
