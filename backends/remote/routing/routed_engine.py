"""An engine over several endpoints of one model.

Each request goes where its first token is expected first (`choice.py`). What an endpoint cannot
answer is moved to another one, unless a text was told that may not come again. An endpoint that
fails is left alone for a while (`breaker.py`). Contexts belong to the client, so any endpoint may
go on from them.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, cast

from backends.base import Engine, EngineInfo, Expecting, Outcome, Request, Result, total
from backends.errors import (
    ConfigError,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)
from backends.rate_limits import RateReport, ReportsRates
from backends.remote.local_prefill import is_local
from backends.remote.routing.choice import CHOICES, View
from backends.remote.routing.endpoint import Endpoint, Flight
from backends.remote.routing.hedge import After, Hedging
from backends.remote.routing.kv_feeds import FindSources, KVFeeds
from backends.remote.routing.load_poller import LoadPoller
from backends.remote.routing.probes import Probes
from backends.remote.routing.prompt_pages import context_of, prompt_of, split
from backends.remote.routing.rate_sum import RateSum
from backends.remote.routing.router import Router
from backends.remote.routing.trip import Trip, refusal

MAX_TRIES = 3  # of one request: what brings a server down shall not bring all down

_ANSWERS = (RequestRejected, RequestTooLong, EngineOverloaded)  # of a server that is well

_log = logging.getLogger(__name__)


class RoutedEngine:
    """`engines` are those of the endpoints, by their URLs; `routing` names a rule of `CHOICES`."""

    def __init__(
        self,
        url: str,
        engines: Mapping[str, Engine],
        routing: str = "predicted_ttft",
        find_events: FindSources | None = None,
        random: Random | None = None,
        hedge: After = None,
    ) -> None:
        """`hedge` is after how long a slow request gets a copy: see `hedge.py`."""
        if routing not in CHOICES:
            raise ConfigError(f"{url!r}: unknown routing {routing!r}; known: {', '.join(CHOICES)}")
        self._url = url
        draw = (random or Random()).random
        self.endpoints = [Endpoint(name, engine, draw) for name, engine in engines.items()]
        self._feeds = KVFeeds(find_events)
        self._router = Router(self.endpoints, CHOICES[routing], Probes(self._join))
        self._poller = LoadPoller(self.endpoints)
        self._running: dict[str, Endpoint | None] = {}  # by request id; None: on its way
        self._flights: dict[str, Flight] = {}  # by request id: those that are at an endpoint
        self._waiting: dict[str, Trip] = {}  # by request id: those that have no endpoint yet
        self._aborted: set[str] = set()
        self.hedging: Hedging | None = None
        if hedge is not None:
            self.hedging = Hedging(hedge, self._run, self._abort_one, self._slow, self._computed)

    @property
    def info(self) -> EngineInfo:
        """What all can do; the slots of all together. Limits are the account's, not each one's."""
        started = [endpoint for endpoint in self.endpoints if endpoint.is_started]
        infos = [endpoint.engine.info for endpoint in started or self.endpoints]
        contexts = [info.max_context_tokens for info in infos if info.max_context_tokens]
        return replace(
            infos[0],
            model=self._url,
            max_batch_items=min(info.max_batch_items for info in infos),
            num_slots=sum(endpoint.engine.info.num_slots for endpoint in self.endpoints),
            capabilities=frozenset.intersection(*(info.capabilities for info in infos)),
            max_context_tokens=min(contexts, default=None),
        )

    def expect(self, uses: Sequence[tuple[Any, float]]) -> None:
        """See `backends.base.Expecting`; each endpoint passes over what it does not keep."""
        for endpoint in self.endpoints:
            if "next_use" in endpoint.engine.info.capabilities:
                cast(Expecting, endpoint.engine).expect(uses)

    def watch_rates(self, tell: Callable[[RateReport], None]) -> None:
        """See `backends.rate_limits.ReportsRates`."""
        engines = [endpoint.engine for endpoint in self.endpoints]
        reporting = [engine for engine in engines if isinstance(engine, ReportsRates)]
        rates = RateSum(len(reporting), tell)
        for engine in reporting:
            engine.watch_rates(rates.teller())

    async def start(self) -> None:
        """Start all. Raises EngineUnavailable if none can be, and what is wrong with settings; one
        that cannot is tried later."""
        left = [endpoint for endpoint in self.endpoints if not endpoint.is_started]
        starts = map(self._router.probes.start, left)
        for outcome in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, EngineError):
                raise outcome
        missing = [f"{e.url}: {e.breaker.reason}" for e in left if not e.is_started]
        if len(missing) == len(self.endpoints):
            raise EngineUnavailable(
                f"none of the {len(missing)} endpoints of {self._url} can be started. "
                + "; ".join(missing)
            )
        for reason in missing:
            _log.warning("%s goes on without an endpoint for now. %s", self._url, reason)

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        """Requests of an LLM go each for itself, others as one batch."""
        if len(requests) == 1 or self.endpoints[0].engine.info.kind != "llm":
            return await self._started(requests)
        each = await asyncio.gather(*(self._started([request]) for request in requests))
        return [outcome for outcomes in each for outcome in outcomes]

    async def _started(self, requests: Sequence[Request]) -> list[Outcome]:
        if self.hedging is None or self._is_local(requests[0]):
            return await self._run(requests)
        return await self.hedging.run(requests)

    def abort(self, request_id: str) -> None:
        self._abort_one(request_id)
        if self.hedging is not None:
            self.hedging.abort(request_id)

    def _slow(self, request_id: str) -> Endpoint | None:
        """Where a request is, if another endpoint has room for its copy."""
        place = self._running.get(request_id)
        is_room = any(
            each is not place and each.is_started and each.has_room and not each.breaker.is_open
            for each in self.endpoints
        )
        return place if is_room else None

    def _computed(self, request_id: str) -> int:
        """An estimate of the tokens that were computed for a request that runs."""
        endpoint, flight = self._running.get(request_id), self._flights.get(request_id)
        return 0 if endpoint is None or flight is None else endpoint.computed_tokens(flight)

    def _abort_one(self, request_id: str) -> None:
        if request_id in self._running:
            self._aborted.add(request_id)
            endpoint = self._running[request_id]
            if endpoint is not None:
                endpoint.engine.abort(request_id)
            elif (trip := self._waiting.get(request_id)) is not None:
                trip.give_up(self._aborted)

    async def close(self) -> None:
        await self._poller.close()
        await self._router.probes.close()
        await self._feeds.close()
        await asyncio.gather(*(endpoint.engine.close() for endpoint in self.endpoints))

    async def _join(self, endpoint: Endpoint) -> None:
        """An endpoint answers for the first time."""
        sends_ids = "token_ids" in endpoint.engine.info.capabilities
        for other in self.endpoints:
            if other.is_started and ("token_ids" in other.engine.info.capabilities) != sends_ids:
                raise EngineUnavailable(
                    f"its contexts are {_form(sends_ids)} and those of {other.url} are "
                    f"{_form(not sends_ids)}; name the tokenizer of all with the option tokenizer"
                )
        await self._feeds.open(endpoint)

    async def _run(
        self, requests: Sequence[Request], avoided: Endpoint | None = None
    ) -> list[Outcome]:
        ids = [request.id for request in requests]
        self._running |= dict.fromkeys(ids)
        try:
            if self._is_local(requests[0]):
                return await self._extend(requests)
            return await self._route(requests, avoided)
        finally:
            for request_id in ids:
                self._running.pop(request_id, None)
                self._aborted.discard(request_id)

    def _is_local(self, request: Request) -> bool:
        return is_local(request, self.endpoints[0].engine.info)

    async def _extend(self, requests: Sequence[Request]) -> list[Outcome]:
        tried: dict[Endpoint, Exception] = {}
        for endpoint in (each for each in self.endpoints if each.is_started):
            try:
                outcomes = await endpoint.engine.execute(requests)
            except EngineUnavailable as error:  # of a process that is down
                tried[endpoint] = error
                continue
            for request, outcome in zip(requests, outcomes, strict=True):
                if isinstance(outcome, Result):
                    self._router.homes.extended(context_of(request), outcome.outputs)
            return outcomes
        return [refusal(self.endpoints, tried)] * len(requests)

    async def _route(self, requests: Sequence[Request], avoided: Endpoint | None) -> list[Outcome]:
        """Send them to one endpoint after another until none has to move on."""
        is_told = any(endpoint.caches for endpoint in self.endpoints)
        if is_told and requests[0].op in ("decode", "generate"):
            return [await self._route_ids(request, avoided) for request in requests]
        return await self._move(requests, avoided)

    async def _route_ids(self, request: Request, avoided: Endpoint | None) -> Outcome:
        """Tokenise the prompt first, which the client does: events are about token ids."""
        context, parts = split(request)
        if not parts:
            return (await self._move([request], avoided))[0]
        kept = {name: v for name, v in request.attrs.items() if name in ("adapter", "cache_salt")}
        prefill = Request(request.id, "prefill", (context, *parts), kept)
        (made,) = await self._extend([prefill])
        if not isinstance(made, Result) or not getattr(made.outputs[0], "ids", None):
            return (await self._move([request], avoided))[0]
        decode = replace(request, op="decode", inputs=made.outputs)
        (outcome,) = await self._move([decode], avoided)
        if request.op == "generate" and isinstance(outcome, Result):
            return replace(outcome, outputs=outcome.outputs[:1])
        return outcome

    async def _move(self, requests: Sequence[Request], avoided: Endpoint | None) -> list[Outcome]:
        trip = Trip(requests, prompt_of(requests), context_of(requests[0]))
        if avoided is not None:
            trip.tried[avoided] = EngineUnavailable(f"{avoided.url} was slow, this is the copy")
        ended: dict[str, Outcome] = {}
        while trip.requests:
            picked = await self._pick(trip) if len(trip.tried) < MAX_TRIES else None
            self._drop_aborted(trip, ended)
            if picked is None:
                refused = refusal(self.endpoints, trip.tried)
                ended |= {request.id: refused for request in trip.requests}
                break
            if not trip.requests:
                picked[0].breaker.drop_probe()
                break
            outcomes = await self._send(trip, *picked)
            moving = []
            for request, outcome in zip(trip.requests, outcomes, strict=True):
                if trip.may_move(request, outcome):
                    assert isinstance(outcome, Exception), "a result does not move"
                    trip.tried[picked[0]] = outcome
                    moving.append(request)
                else:
                    ended[request.id] = trip.checked(request, outcome)
            trip.requests = moving
        return [ended[request.id] for request in requests]

    def _drop_aborted(self, trip: Trip, ended: dict[str, Outcome]) -> None:
        """Those that were aborted before they went anywhere end; the others go on."""
        aborted = self._aborted.intersection(request.id for request in trip.requests)
        ended.update(dict.fromkeys(aborted, EngineError("the request was aborted")))
        trip.requests = [request for request in trip.requests if request.id not in aborted]

    async def _pick(self, trip: Trip) -> tuple[Endpoint, View] | None:
        ids = [request.id for request in trip.requests]
        self._waiting |= dict.fromkeys(ids, trip)
        trip.give_up(self._aborted)
        try:
            return await self._router.pick(trip)
        finally:
            for request_id in ids:
                self._waiting.pop(request_id, None)

    async def _send(self, trip: Trip, endpoint: Endpoint, view: View) -> Sequence[Outcome]:
        flight = endpoint.begin(trip.prompt, view, trip.text_tokens, streams=trip.streams)
        self._poller.wake()
        self._running |= {request.id: endpoint for request in trip.requests}
        self._flights |= {request.id: flight for request in trip.requests}
        outcomes: Sequence[Outcome] | None = None
        try:
            outcomes = await endpoint.engine.execute(trip.at(endpoint, flight))
        except EngineError as error:
            outcomes = [error] * len(trip.requests)
        finally:
            self._running |= dict.fromkeys(request.id for request in trip.requests)
            for request in trip.requests:
                self._flights.pop(request.id, None)
            self._note(endpoint, flight, trip, outcomes or ())
            self._router.ended()
        return [_answered_by(endpoint, outcome) for outcome in outcomes]

    def _note(
        self, endpoint: Endpoint, flight: Flight, trip: Trip, outcomes: Sequence[Outcome]
    ) -> None:
        """Learn from what came of a flight; without outcomes it was cancelled."""
        results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
        if results and len(results) == len(outcomes):
            usage = total(result.usage for result in results)
            counts_cached = "cached_tokens" in endpoint.engine.info.capabilities
            endpoint.answered(flight, usage, counts_cached=counts_cached)
            self._router.ratio.observe(trip.prompt, usage)
            for result in results:
                self._router.homes.computed(result.outputs, endpoint)
        else:
            endpoint.failed(flight)
        was_aborted = any(request.id in self._aborted for request in trip.requests)
        if results or any(isinstance(outcome, _ANSWERS) for outcome in outcomes):
            endpoint.breaker.succeeded()
        elif outcomes and not was_aborted:
            self._note_failure(endpoint, outcomes[0])
        endpoint.breaker.drop_probe()
        endpoint.note_full(outcomes)

    def _note_failure(self, endpoint: Endpoint, outcome: Outcome) -> None:
        now_s = asyncio.get_running_loop().time()
        if endpoint.breaker.failed(str(outcome), now_s):
            endpoint.forget_cache()
            _log.warning("%s leaves %s alone for now: %s", self._url, endpoint.url, outcome)


def _form(is_ids: bool) -> str:
    return "token ids" if is_ids else "text"


def _answered_by(endpoint: Endpoint, outcome: Outcome) -> Outcome:
    return replace(outcome, endpoint=endpoint.url) if isinstance(outcome, Result) else outcome
