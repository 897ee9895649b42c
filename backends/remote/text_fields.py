"""The fields of a body that chat and plain completions share."""

import asyncio
from typing import Any

from backends.errors import RequestRejected
from backends.remote.place_fields import place_fields
from backends.remote.servers import TextServer
from backends.remote.text_call import TextCall

# Attributes that a dialect writes in its own way.
_APART = frozenset(
    ("max_tokens", "temperature", "n", "logprobs", "schema", "regex", "choices", "stop")
)


def shared_fields(call: TextCall, model: str, server: TextServer) -> dict[str, Any]:
    """Model, sampling and identity. Raises RequestRejected for what the server does not take."""
    found: dict[str, Any] = {"model": model, **server.always}
    for name, value in call.changed.items():
        if name not in _APART:
            found[server.fields.get(name) or refuse(name, server.name)] = _as_json(value)
    if call.sampling.stop:
        found["stop"] = list(call.sampling.stop)
    if call.sampling.n > 1:
        found["n"] = call.sampling.n
    return {**found, **_identity(call, server)}


def one_call(call: TextCall) -> dict[str, Any]:
    """OpenAI's `parallel_tool_calls`, where it says something."""
    return {} if call.is_parallel else {"parallel_tool_calls": False}


def refuse(name: str, server: str, instead: str = "") -> Any:
    """Raises RequestRejected."""
    raise RequestRejected(f"{name} is not offered by {server}{instead and f': {instead}'}")


def _identity(call: TextCall, server: TextServer) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if call.adapter is not None:
        hint = "name the tuned model in the URL"
        found[server.adapter or refuse("adapter", server.name, hint)] = call.adapter
    if call.cache_salt is not None:
        hint = "prefixes of several tenants cannot be kept apart there"
        found[server.cache_salt or refuse("cache_salt", server.name, hint)] = call.cache_salt
    if call.fusion is not None:
        found["fusion"] = call.fusion
    if server.request_id:
        found[server.request_id] = call.id
    if server.priority and call.priority:
        found[server.priority] = -call.priority if server.is_low_first else call.priority
    if call.place is not None or call.is_heard:  # of a server that takes both
        now_s = asyncio.get_running_loop().time()
        found |= place_fields(call.place, call.is_heard, now_s)
    return found


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return {str(token): bias for token, bias in value.items()} if isinstance(value, dict) else value
