"""Short questions to a server. What it does not answer is None."""

from collections.abc import Mapping, Sequence
from typing import Any

from backends.errors import EngineError, EngineUnavailable, RequestRejected
from backends.remote.client import Client
from backends.remote.dialects.prometheus import MetricsPage

TIMEOUT_S = 5.0


class Asking:
    """One server, reached once: from then on nothing raises."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.root = client.endpoint.root

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """The cards of `/v1/models`. Raises EngineUnavailable where nobody answers."""
        try:
            answer = await self._client.get("/v1/models", timeout_s=TIMEOUT_S)
        except EngineUnavailable:
            raise
        except EngineError:
            return []
        return [card for card in items(answer, "data") if isinstance(card.get("id"), str)]

    async def json(self, path: str) -> Any:
        """The JSON at a path; None where there is none."""
        try:
            return await self._client.get(path, timeout_s=TIMEOUT_S)
        except EngineError:
            return None

    async def object(self, path: str) -> Mapping[str, Any]:
        """The JSON object at a path; empty where there is none."""
        answer = await self.json(path)
        return answer if isinstance(answer, Mapping) else {}

    async def text(self, path: str) -> str | None:
        """The text at a path."""
        try:
            return await self._client.get_text(path, timeout_s=TIMEOUT_S)
        except EngineError:
            return None

    async def metrics(self, prefix: str) -> "Metrics | None":
        """The page of /metrics, if it has series of this prefix."""
        text = await self.text("/metrics")
        return None if text is None or prefix not in text else Metrics(text)

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any] | str:
        """What answers a request, or what the server says against it. Raises EngineError for what
        says nothing of the request."""
        try:
            answer = await self._client.post(path, body, is_safe=True, timeout_s=4 * TIMEOUT_S)
        except RequestRejected as error:
            return str(error)
        return answer if isinstance(answer, Mapping) else {}


class Metrics(MetricsPage):
    """With its text, for labels."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def ratio(self, part: str, *whole: str) -> float | None:
        """Of two counters, or of one to a sum; None where nothing was counted."""
        total = sum(self.total(name) or 0.0 for name in whole)
        found = self.total(part)
        return None if found is None or not total else found / total


def items(answer: Any, name: str) -> list[Mapping[str, Any]]:
    """The objects of a list in an answer."""
    found = answer.get(name) if isinstance(answer, Mapping) else None
    listed = found if isinstance(found, list) else []
    return [item for item in listed if isinstance(item, Mapping)]


def int_of(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
