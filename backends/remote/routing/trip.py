"""Requests that go together from one endpoint to the next until one answers."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from backends.base import Context, Outcome, Request, Result
from backends.errors import EngineOverloaded, EngineUnavailable
from backends.remote.routing.endpoint import Endpoint, Flight
from backends.remote.routing.prompt_pages import Prompt
from backends.remote.routing.retelling import Retelling, can_be_retold

TEXT_TOKENS = 256  # of an answer that nothing bounds


@dataclass(slots=True, eq=False)
class Trip:
    """Those with a piece of text told move only if the same text is to be expected."""

    requests: Sequence[Request]
    prompt: Prompt
    context: Context | None  # that they go on from
    tried: dict[Endpoint, Exception] = field(default_factory=dict)
    texts: dict[str, Retelling] = field(default_factory=dict)  # by request id
    is_given_up: bool = False  # all were aborted
    waits: "asyncio.Future[None] | None" = None  # for a slot

    @property
    def streams(self) -> bool:
        return any(request.emit is not None for request in self.requests)

    @property
    def text_tokens(self) -> int:
        """The most that is written by one of them."""
        return max(map(_text_tokens, self.requests))

    def at(self, endpoint: Endpoint, flight: Flight) -> list[Request]:
        """The requests for one endpoint: they tell when the text begins."""
        return [
            request
            if request.emit is None
            else replace(request, emit=self._noting(request.id, request.emit, endpoint, flight))
            for request in self.requests
        ]

    def give_up(self, aborted: Collection[str]) -> None:
        """Wait no longer for a slot if nobody wants an outcome any more."""
        self.is_given_up = all(request.id in aborted for request in self.requests)
        if self.is_given_up and self.waits is not None and not self.waits.done():
            self.waits.set_result(None)

    def may_move(self, request: Request, outcome: Outcome) -> bool:
        """Whether another endpoint may do better, and nobody sees that it was tried twice."""
        if not isinstance(outcome, EngineUnavailable | EngineOverloaded):
            return False
        text = self.texts.get(request.id)
        return text is None or not text.told or can_be_retold(request.attrs)

    def checked(self, request: Request, outcome: Outcome) -> Outcome:
        """The outcome, unless its text is not the one that was told in part."""
        text = self.texts.get(request.id)
        if text is None or (not text.differs and not isinstance(outcome, Result)):
            return outcome
        if isinstance(outcome, Result) and text.fits(outcome):
            return outcome
        failures = "; ".join(map(str, self.tried.values()))
        return EngineUnavailable(
            f"an endpoint failed in the middle of a text, and another one wrote it otherwise. "
            f"{failures}"
        )

    def _noting(
        self, request_id: str, emit: Callable[[str], None], endpoint: Endpoint, flight: Flight
    ) -> Callable[[str], None]:
        text = self.texts.setdefault(request_id, Retelling(emit))
        text.begin()

        def noting(piece: str) -> None:
            flight.num_told += 1
            if flight.first_s is None:
                endpoint.first_token(flight)
            text.tell(piece)
            if text.differs:
                endpoint.engine.abort(request_id)

        return noting


def refusal(endpoints: Sequence[Endpoint], tried: dict[Endpoint, Exception]) -> Exception:
    """Why no endpoint runs the requests: each with its reason."""
    now_s = asyncio.get_running_loop().time()
    reasons = [f"{e.url}: {_reason(e, tried, now_s)}" for e in endpoints]
    text = f"none of {len(endpoints)} endpoints runs the request. " + "; ".join(reasons)
    waits = [e.full_until_s - now_s for e in endpoints if e.full_until_s > now_s]
    if waits:
        return EngineOverloaded(text, min(waits))
    is_full = any(isinstance(error, EngineOverloaded) for error in tried.values())
    return EngineOverloaded(text) if is_full else EngineUnavailable(text)


def _reason(endpoint: Endpoint, tried: dict[Endpoint, Exception], now_s: float) -> str:
    if endpoint in tried:
        return str(tried[endpoint])
    if endpoint.breaker.is_open:
        wait_s = endpoint.breaker.retry_in_s(now_s)
        return f"left alone for {wait_s:.1f} s more since {endpoint.breaker.reason}"
    if endpoint.full_until_s > now_s:
        return f"asked to be left alone for {endpoint.full_until_s - now_s:.1f} s"
    return "not tried any more" if endpoint.is_started else "not started"


def _text_tokens(request: Request) -> int:
    if request.op not in ("decode", "generate"):
        return 0
    most, n = request.attrs.get("max_tokens"), request.attrs.get("n")
    each = min(most, TEXT_TOKENS) if isinstance(most, int) else TEXT_TOKENS
    return each * (n if isinstance(n, int) else 1)
