"""What kind of server answers at a URL, for the error when it is not the one that was named."""

from collections.abc import Mapping, Sequence
from typing import Any

from backends.errors import EngineError, EngineUnavailable
from backends.remote.server_client import ServerClient

_OWNERS = {"sglang": "SGLang", "vllm": "vLLM", "teola": "teola", "library": "Ollama"}
_SCHEMES = {"SGLang": "sglang", "vLLM": "vllm", "teola": "teola", "Ollama": "ollama"}


async def another_kind(client: ServerClient, wanted: str) -> EngineUnavailable:
    """The error for a server that is not `wanted`."""
    found = await looks_like(client)
    root = client.endpoint.root
    if found is None:
        return EngineUnavailable(f"{root} answers, but does not look like a server of models")
    if found == wanted:
        return EngineUnavailable(f"{root} looks like {wanted}, but lacks routes that this needs")
    return _not(wanted, found, root)


def check_kind(client: ServerClient, cards: Sequence[Mapping[str, Any]], wanted: str) -> None:
    """Raises EngineUnavailable where the list of models is one of another kind of server."""
    owners = {_OWNERS[card["owned_by"]] for card in cards if _is_known(card)}
    if len(owners) == 1 and owners != {wanted}:
        raise _not(wanted, owners.pop(), client.endpoint.root)


def _not(wanted: str, found: str, root: str) -> EngineUnavailable:
    scheme = _SCHEMES.get(found, "openai")
    return EngineUnavailable(
        f"{root} looks like {_article(found)} server, not {wanted}: write {scheme}:// in the URL"
    )


async def looks_like(client: ServerClient) -> str | None:
    """The kind of server, as far as its list of models says; None: it lists none."""
    try:
        answer = await client.get("/v1/models")
    except EngineUnavailable:
        raise
    except EngineError:
        return None
    cards = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(cards, list):
        return None
    owners = {_OWNERS[card["owned_by"]] for card in cards if _is_known(card)}
    return owners.pop() if len(owners) == 1 else "OpenAI"


def _is_known(card: Any) -> bool:
    return isinstance(card, Mapping) and card.get("owned_by") in _OWNERS


def _article(name: str) -> str:
    return "an OpenAI-compatible" if name == "OpenAI" else f"a {name}"
