"""The fusion profile of a model behind a `teola://` URL: its server's, under the URL's name."""

from collections.abc import Mapping
from typing import Any

import httpx
from pydantic import ValidationError

from backends.errors import EngineUnavailable
from backends.fusion_profile import FusionProfile
from backends.remote.client import Client
from backends.remote.listed_models import model_of
from backends.remote.options import RemoteOptions
from backends.remote.url import parse_url


async def fetch(text: str, transport: httpx.AsyncBaseTransport | None = None) -> FusionProfile:
    """Of the URL's first endpoint. Raises ConfigError, and EngineUnavailable where there is no
    server, model or profile."""
    url = parse_url(text)
    client = Client(url.endpoints[0], RemoteOptions(), transport=transport)
    try:
        model = await model_of(client, url, "llm")
        cards = (await client.get("/v1/models"))["data"]
    finally:
        await client.close()
    card = next(card for card in cards if model in (card.get("id"), card.get("root")))
    if "fusion" not in card:
        raise EngineUnavailable(
            f"{client.endpoint.root} has no fusion profile of {model}: run "
            f"`teola fusion-check {card.get('root', model)}` on its machine"
        )
    return _read(text, card["fusion"])


def _read(text: str, found: Any) -> FusionProfile:
    try:
        return FusionProfile.model_validate({**_mapping(found), "model": text})
    except (ValidationError, TypeError) as error:
        raise EngineUnavailable(f"{text}: the server's fusion profile: {error}") from error


def _mapping(found: Any) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise TypeError("it is no object")
    return found
