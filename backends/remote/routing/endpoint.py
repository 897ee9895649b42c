"""One endpoint: what is on its way there, what its cache holds, how fast and how busy it is."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from backends.base import Engine, Outcome, Usage
from backends.engine_load import EngineLoad, ReportsLoad
from backends.errors import EngineError, EngineOverloaded, EngineUnavailable
from backends.remote.routing.breaker import Breaker
from backends.remote.routing.choice import View
from backends.remote.routing.kv_blocks import KVBlocks
from backends.remote.routing.prefix_index import PrefixIndex
from backends.remote.routing.prompt_pages import Prompt
from backends.remote.routing.speed import Speed

_log = logging.getLogger(__name__)

LOAD_HOLDS_S = 5.0  # what a server said of its load counts no longer
MISSED = 0.5  # of the tokens expected in the cache: fewer found say that it is not as we think


@dataclass(slots=True, eq=False)
class Flight:
    """Requests that go together, on their way to one endpoint."""

    prompt: Prompt
    num_tokens: float  # of the prompt
    cached_tokens: float  # as expected
    num_pages: int  # of the prompt, in the cache as expected
    queued_tokens: float  # before it
    began_s: float
    due_s: float  # when its first token is expected
    end_due_s: float  # and its end
    writes: bool  # a text, behind its prompt
    streams: bool  # it tells of its first token
    text_tokens: int = 0  # it writes at the most
    first_s: float | None = None
    num_told: int = 0  # pieces of text

    @property
    def new_tokens(self) -> float:
        return max(0.0, self.num_tokens - self.cached_tokens)

    def is_queued(self, now_s: float) -> bool:
        """Whether its prompt is not computed, as far as that can be told."""
        return self.first_s is None and (now_s < self.due_s or not self.writes)

    def late_s(self, now_s: float) -> float:
        """How much longer than expected it takes."""
        if self.streams:
            return max(0.0, now_s - self.due_s) if self.first_s is None else 0.0
        return max(0.0, now_s - self.end_due_s)


@dataclass(frozen=True, slots=True)
class _Others:
    """What the requests of other clients take there."""

    at_s: float
    queued_tokens: float
    num_running: float
    kv_usage: float


class Endpoint:
    """All that is known of a server. Times are the loop's."""

    def __init__(self, url: str, engine: Engine, draw: Callable[[], float]) -> None:
        self.url = url
        self.engine = engine
        self.breaker = Breaker(draw)
        self.speed = Speed()
        self.num_slots = engine.info.num_slots
        self.is_started = False
        self.tells_load = isinstance(engine, ReportsLoad)
        self.epoch = 0  # how often its cache was lost
        self.full_until_s = 0.0  # it asked to be left alone until then
        self.caches: Sequence[KVBlocks] = ()  # as its events tell; one a data-parallel rank
        self._index = self._new_index()
        self._flights: set[Flight] = set()
        self._others: _Others | None = None

    @property
    def has_room(self) -> bool:
        """Whether it has a slot for one more."""
        return len(self._flights) < self.num_slots

    @property
    def is_busy(self) -> bool:
        return bool(self._flights)

    def started(self) -> None:
        """Its engine knows by now what the server can."""
        self.is_started = True
        self.num_slots = self.engine.info.num_slots
        self._index = self._new_index()

    def forget_cache(self) -> None:
        """The server was started anew, as far as we know."""
        self.epoch += 1
        self._index.clear()

    def view(self, prompt: Prompt, per_byte: float, at_home: float, token_s: float) -> View:
        """As a request sees it whose context has so many tokens `at_home` there."""
        now_s = _now()
        others = self._others_at(now_s)
        queued = [flight.new_tokens for flight in self._flights if flight.is_queued(now_s)]
        num_tokens = prompt.num_tokens(per_byte)
        matched = prompt.tokens_of_pages(self._index.match(prompt.keys), per_byte)
        if self._is_told_of(prompt):
            at_home = 0.0  # events know better
        told = [cache.match(prompt.block_keys(cache.block_size)) for cache in self.caches]
        return View(
            prompt_tokens=num_tokens,
            cached_tokens=min(num_tokens, max(matched, at_home, *told)),
            queued_tokens=sum(queued) + others.queued_tokens,
            num_running=len(self._flights) - len(queued) + others.num_running,
            kv_usage=others.kv_usage,
            late_s=max((flight.late_s(now_s) for flight in self._flights), default=0.0),
            token_s=token_s,
        )

    def begin(self, prompt: Prompt, view: View, text_tokens: int, *, streams: bool) -> Flight:
        """Requests are sent there that may write so many tokens."""
        now_s = _now()
        new = view.prompt_tokens - view.cached_tokens
        due_s = now_s + (view.queued_tokens + new) * view.token_s
        flight = Flight(
            prompt=prompt,
            num_tokens=view.prompt_tokens,
            cached_tokens=view.cached_tokens,
            num_pages=self._index.match(prompt.keys),
            queued_tokens=view.queued_tokens,
            began_s=now_s,
            due_s=due_s,
            end_due_s=due_s + text_tokens * self.speed.decode_token_s,
            writes=text_tokens > 0,
            streams=streams,
            text_tokens=text_tokens,
        )
        self._index.sent(prompt.keys)
        self._flights.add(flight)
        return flight

    def computed_tokens(self, flight: Flight) -> int:
        """An estimate of what it has computed by now for a flight that has not ended: what it told,
        or else what it does in such a time."""
        now_s = _now()
        if flight.streams and flight.first_s is not None:
            return int(flight.new_tokens) + flight.num_told
        due_s = max(1e-9, flight.due_s - flight.began_s)
        pace = (flight.queued_tokens + flight.new_tokens) / due_s
        prompt = pace * (now_s - flight.began_s) - flight.queued_tokens
        late_s = 0.0 if flight.streams else max(0.0, now_s - flight.due_s)
        text = min(flight.text_tokens, late_s / self.speed.decode_token_s)
        return int(min(flight.new_tokens, max(0.0, prompt)) + text)

    def first_token(self, flight: Flight) -> None:
        """The prompt is computed: the text begins."""
        flight.first_s = now_s = _now()
        self._index.computed(flight.prompt.keys)
        tokens = flight.queued_tokens + flight.new_tokens
        self.speed.saw_first_token(now_s - flight.began_s, tokens, now_s)

    def answered(self, flight: Flight, usage: Usage, *, counts_cached: bool) -> None:
        """All requests of the flight were answered."""
        self._flights.discard(flight)
        now_s = _now()
        is_told = self._is_told_of(flight.prompt)
        if counts_cached and flight.prompt.keys:
            if not is_told:
                self._check_cache(flight, usage)
            flight.num_tokens = usage.prefill_tokens + usage.cached_tokens
            flight.cached_tokens = usage.cached_tokens
        if is_told:
            self._index.lost(flight.prompt.keys)  # its events say what stays
        else:
            self._index.computed(flight.prompt.keys)
        if flight.first_s is None:
            tokens = flight.queued_tokens + flight.new_tokens
            self.speed.saw_whole(now_s - flight.began_s, tokens, usage.decode_tokens, now_s)
        else:
            self.speed.saw_text(now_s - flight.first_s, usage.decode_tokens - 1, now_s)

    def failed(self, flight: Flight) -> None:
        """The flight ended otherwise. What it would have left in the cache is not there."""
        self._flights.discard(flight)
        if flight.first_s is None:
            self._index.lost(flight.prompt.keys[flight.num_pages :])

    def note_full(self, outcomes: Iterable[Outcome]) -> None:
        """Note that it refused, and for how long, if it did."""
        for outcome in outcomes:
            if isinstance(outcome, EngineOverloaded) and outcome.retry_after_s is not None:
                self.full_until_s = max(self.full_until_s, _now() + outcome.retry_after_s)

    async def ask_load(self) -> None:
        """Ask the server for its load. Raises EngineUnavailable where it does not answer."""
        if not isinstance(self.engine, ReportsLoad):
            return
        try:
            self.told(await self.engine.load())
        except EngineUnavailable:
            raise
        except EngineError as error:  # it answers, and does not say
            self.tells_load = False
            _log.info("%s does not tell its load: %s", self.url, error)

    def told(self, load: EngineLoad) -> None:
        """Note what the server says of its load; its own requests and those of others are in it."""
        now_s = _now()
        queued = [flight.new_tokens for flight in self._flights if flight.is_queued(now_s)]
        num_others_wait = max(0, load.num_waiting - len(queued))
        waiting = load.waiting_tokens
        if waiting is None:
            mean = sum(queued) / len(queued) if queued else 0.0
            waiting_tokens = num_others_wait * mean
        else:
            waiting_tokens = max(0.0, waiting - sum(queued))
        num_own = len(self._flights) - len(queued)
        num_running = max(0.0, load.num_running - num_own)
        self._others = _Others(now_s, waiting_tokens, num_running, load.kv_usage or 0.0)

    def _is_told_of(self, prompt: Prompt) -> bool:
        """Whether events say exactly what of this prompt the server holds."""
        is_all_ids = bool(prompt.ids) and not prompt.num_bytes
        return is_all_ids and bool(self.caches) and all(c.is_complete for c in self.caches)

    def _others_at(self, now_s: float) -> _Others:
        others = self._others
        if others is None or now_s - others.at_s > LOAD_HOLDS_S:
            return _Others(now_s, 0.0, 0.0, 0.0)
        return others

    def _check_cache(self, flight: Flight, usage: Usage) -> None:
        """Less in the cache than expected: it is smaller than we think, or empty."""
        if usage.cached_tokens >= MISSED * flight.cached_tokens:
            if flight.cached_tokens:
                self._index.grow()
        elif usage.cached_tokens == 0:
            self.forget_cache()
            self._index.sent(flight.prompt.keys)
        else:
            self._index.shrink()

    def _new_index(self) -> PrefixIndex:
        shares = "shares_in_flight" in self.engine.info.capabilities
        return PrefixIndex(shares_in_flight=shares)


def _now() -> float:
    return asyncio.get_running_loop().time()
