"""What all fake engines share: latency, failures on request, a journal of what ran."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from backends.base import Capability, EngineInfo, Kind, Outcome, Request, Result
from backends.errors import ConfigError, EngineError, RequestRejected
from backends.rate_limits import RateLimits

COMMON_OPTIONS = (
    "latency_s",
    "item_s",
    "max_batch_items",
    "num_slots",
    "fail",
    "device",
    "repeatable",
    "requests_per_minute",
    "tokens_per_minute",
)


class FakeEngine:
    """Runs each batch after `latency_s` plus `item_s` for each item: seconds, or seconds by op.

    `fail` maps an op to the message of the EngineError that every such request gets.
    Fakes that name the same `device` say that they share it.
    `requests_per_minute` and `tokens_per_minute` are what it states as rate limits.
    With `repeatable=True` the runtime may remember outcomes, as it does those of local models.
    `journal` lists what ran, oldest first: one tuple of (op, inputs) a batch. The op of a prefill
    that ran ahead is "prefill ahead".
    """

    kind: Kind
    own_options: tuple[str, ...] = ()

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        known = (*COMMON_OPTIONS, *self.own_options)
        for name in options:
            if name not in known:
                raise ConfigError(f"unknown option {name!r} of {url!r}; known: {', '.join(known)}")
        self.options = options
        self.journal: list[tuple[tuple[str, tuple[Any, ...]], ...]] = []
        self._takes_time = not {"latency_s", "item_s"}.isdisjoint(options)
        self._aborted: set[str] = set()
        self._running: set[str] = set()

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            kind=self.kind,
            model="fake",
            max_batch_items=self.options.get("max_batch_items", 64),
            num_slots=self.options.get("num_slots", 1),
            capabilities=self.repeatability,
            device=self.options.get("device", ""),
            rate_limits=self.rate_limits,
        )

    @property
    def rate_limits(self) -> RateLimits | None:
        requests = self.options.get("requests_per_minute")
        tokens = self.options.get("tokens_per_minute")
        return None if requests is None and tokens is None else RateLimits(requests, tokens)

    @property
    def repeatability(self) -> frozenset[Capability]:
        return frozenset({"repeatable"} if self.options.get("repeatable") else ())

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to free."""

    def abort(self, request_id: str) -> None:
        if request_id in self._running:
            self._aborted.add(request_id)

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        self.journal.append(tuple((self.name_in_journal(r), r.inputs) for r in requests))
        ids = {r.id for r in requests}
        self._running |= ids
        try:
            await asyncio.sleep(self._batch_s(requests))
            return [await self._outcome(r) for r in requests]
        finally:
            self._running -= ids
            self._aborted -= ids

    def _batch_s(self, requests: Sequence[Request]) -> float:
        if not self._takes_time:
            return 0.0
        items_s = sum(r.num_items * self._seconds("item_s", r.op) for r in requests)
        return max(self._seconds("latency_s", r.op) for r in requests) + items_s

    def _seconds(self, option: str, op: str) -> float:
        given = self.options.get(option, 0.0)
        return float(given.get(op, 0.0) if isinstance(given, Mapping) else given)

    async def _outcome(self, request: Request) -> Outcome:
        if request.op in self.options.get("fail", {}):
            return EngineError(self.options["fail"][request.op])
        try:
            return await self.answer(request)
        except Exception as error:  # the outcome of this request alone
            return error

    def name_in_journal(self, request: Request) -> str:
        """The op, or what tells more of the request."""
        return request.op

    async def answer(self, request: Request) -> Result:
        """The deterministic result of one request."""
        raise RequestRejected(f"the fake {self.kind} engine does not run {request.op!r}")
