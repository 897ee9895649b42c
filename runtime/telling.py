"""What a query tells its listener: events, in order. A listener that raises is told no more."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from backends.base import Result
from backends.text_secrets import without_secrets
from runtime.clock import now
from runtime.errors import ListenerFailed, QueryError
from runtime.events import Event, EventKind, Listener
from runtime.job import Started

LOAD_SHOWN_FROM_S = 0.001


class Teller:
    """Makes the events of one query. Nothing it does raises."""

    def __init__(
        self, query: str, listener: Listener | None, on_failure: Callable[[QueryError], None]
    ) -> None:
        self._query = query
        self._listener = listener
        self._on_failure = on_failure  # called in a later turn of the loop

    @property
    def is_heard(self) -> bool:
        """Whether there is a listener."""
        return self._listener is not None

    def tell(
        self, kind: EventKind, node: str = "", op: str = "", fields: Mapping[str, Any] | None = None
    ) -> None:
        """An event of the query, or of the node at a path."""
        if self._listener is None:
            return
        if fields is not None and "error" in fields:
            fields = {**fields, "error": without_secrets(str(fields["error"]))}
        try:
            self._listener(Event(now(), kind, self._query, node, op, fields or {}))
        except Exception as error:  # the outcome of this query: its listener is gone
            self._listener = None
            failure = ListenerFailed(f"a listener to query {self._query} failed: {error!r}")
            failure.__cause__ = error
            asyncio.get_running_loop().call_soon(self._on_failure, failure)

    def tell_start(self, path: str, op: str, engine: str, started: Started) -> None:
        """The batch of a node's request starts."""
        fields: dict[str, Any] = {
            "engine": engine,
            "batch": started.batch,
            "batch_size": started.batch_size,
            "policy": started.policy,
            "waiting": started.num_waiting,
        }
        if started.load_s > LOAD_SHOWN_FROM_S:
            fields["load_s"] = round(started.load_s, 3)
        self.tell("start", path, op, {**fields, **started.wait})

    def tell_end(self, path: str, op: str, result: Result) -> None:
        """The request of a node ended well."""
        usage = result.usage
        fields: dict[str, Any] = {
            "prefill_tokens": usage.prefill_tokens,
            "cached_tokens": usage.cached_tokens,
            "decode_tokens": usage.decode_tokens,
            "num_items": usage.num_items,
        }
        if usage.remembered_items:
            fields["remembered_items"] = usage.remembered_items
        if usage.fused_tokens:
            fields["fused_tokens"] = usage.fused_tokens
        if usage.wasted_tokens:
            fields["wasted_tokens"] = usage.wasted_tokens
        if usage.estimated_tokens:
            fields["estimated_tokens"] = usage.estimated_tokens
        if usage.wasted_s:
            fields["wasted_s"] = round(usage.wasted_s, 6)
        if result.fusion is not None:
            fields["fusion"] = asdict(result.fusion)
        if result.finish_reason is not None:
            fields["finish_reason"] = result.finish_reason
        if result.served is not None:
            fields["served"] = result.served.fields
        if result.endpoint:
            fields["endpoint"] = result.endpoint
        self.tell("end", path, op, fields)
