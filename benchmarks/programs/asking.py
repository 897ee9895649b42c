"""OpenAI's client, as programs without teola call an engine server.

`salt` keeps the KV of one run apart from that of all others; within a run the server's prefix cache
finds what it can.
"""

from typing import Any

from openai import AsyncOpenAI, OpenAI

from benchmarks.programs.texts import Messages, schema_of

TIMEOUT_S = 600.0


class LoopClient:
    """One call after another."""

    def __init__(self, url: str, model: str) -> None:
        self._client = OpenAI(base_url=f"{url}/v1", api_key="none", timeout=TIMEOUT_S)
        self._model = model
        self.salt = ""

    def ask(self, messages: Messages, out: Any = str, **limits: Any) -> str:
        """The answer as a text; `out` is a type whose JSON it is held to."""
        fields = _fields(self._model, messages, out, self.salt, limits)
        return self._client.chat.completions.create(**fields).choices[0].message.content or ""

    def close(self) -> None:
        self._client.close()


class AsyncClient:
    """For programs whose calls may run side by side. Used on one event loop."""

    def __init__(self, url: str, model: str) -> None:
        self._client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=TIMEOUT_S)
        self._model = model
        self.salt = ""

    async def ask(self, messages: Messages, out: Any = str, **limits: Any) -> str:
        fields = _fields(self._model, messages, out, self.salt, limits)
        answer = await self._client.chat.completions.create(**fields)
        return answer.choices[0].message.content or ""

    async def close(self) -> None:
        await self._client.close()


def _fields(
    model: str, messages: Messages, out: Any, salt: str, limits: dict[str, Any]
) -> dict[str, Any]:
    fields = {"temperature": 0, **limits, "model": model, "messages": messages}
    if out is not str:
        held = {"name": "answer", "schema": schema_of(out)}
        fields["response_format"] = {"type": "json_schema", "json_schema": held}
    return {**fields, "extra_body": {"cache_salt": salt}}
