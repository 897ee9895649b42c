"""Which endpoint is tried next."""

import asyncio
from collections.abc import Sequence

from backends.remote.routing.choice import Choice, View
from backends.remote.routing.endpoint import Endpoint
from backends.remote.routing.homes import Homes
from backends.remote.routing.probes import Probes
from backends.remote.routing.room import Room
from backends.remote.routing.speed import prefill_rates
from backends.remote.routing.text_ratio import TextRatio
from backends.remote.routing.trip import Trip


class Busy:
    """All slots are taken."""


class Router:
    """Sees all endpoints, and what was learned of all of them together."""

    def __init__(self, endpoints: Sequence[Endpoint], choose: Choice, probes: Probes) -> None:
        self.endpoints = endpoints
        self.probes = probes
        self.homes = Homes()
        self.ratio = TextRatio()
        self._choose = choose
        self._room = Room()
        probes.on_end = self.ended
        self._turn = 0

    async def pick(self, trip: Trip) -> tuple[Endpoint, View] | None:
        """The best one that was not tried and has a slot; None: all failed or refuse, or the trip
        was given up. Waits for a slot, and if all are left alone, for probes."""
        picked = await self._pick(trip)
        if isinstance(picked, Busy):
            await self._room.wait(trip, is_first=False)
            while isinstance(picked := await self._pick(trip), Busy):
                await self._room.wait(trip, is_first=True)
            self._room.freed()  # there may be more, or none for anybody
        return picked

    def ended(self) -> None:
        """A slot is free."""
        self._room.freed()

    async def _pick(self, trip: Trip) -> "tuple[Endpoint, View] | Busy | None":
        if trip.is_given_up:
            return None
        left = [endpoint for endpoint in self.endpoints if endpoint not in trip.tried]
        probed = self.probes.due(left)
        if probed is not None:
            return self._best(trip, [probed])
        if not any(map(_answers, left)):
            await self.probes.wait(left)
        now_s = asyncio.get_running_loop().time()
        free = [e for e in left if _answers(e) and e.full_until_s <= now_s]
        if not free:
            return None
        roomy = [endpoint for endpoint in free if endpoint.has_room]
        return self._best(trip, roomy) if roomy else Busy()

    def _best(self, trip: Trip, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, View]:
        now_s = asyncio.get_running_loop().time()
        per_byte = self.ratio.tokens_per_byte
        rates = prefill_rates([endpoint.speed for endpoint in endpoints], now_s)
        views = [
            endpoint.view(trip.prompt, per_byte, self.homes.tokens_at(trip.context, endpoint), rate)
            for endpoint, rate in zip(endpoints, rates, strict=True)
        ]
        self._turn += 1
        place = self._choose(views, self._turn)[0]
        return endpoints[place], views[place]


def _answers(endpoint: Endpoint) -> bool:
    return endpoint.is_started and not endpoint.breaker.is_open
