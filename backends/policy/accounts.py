"""What policies remember of flows: the service that each was given so far."""

from collections import Counter, OrderedDict
from collections.abc import Hashable

from backends.policy.base import Service, Ticket
from backends.policy.ranking import Ranking

MOST_IDLE = 4096  # flows of which nothing waits; of more, those idle longest are forgotten


class FlowValues:
    """A number for each flow, kept while the flow has requests that wait, and some time after."""

    def __init__(self) -> None:
        self._values: dict[Hashable, float] = {}
        self._num_waiting: Counter[Hashable] = Counter()
        self._idle: OrderedDict[Hashable, None] = OrderedDict()

    def arrived(self, flow: Hashable, ticket: Ticket, now_s: float) -> None:  # noqa: ARG002
        self._idle.pop(flow, None)
        self._num_waiting[flow] += 1

    def left(self, flow: Hashable, ticket: Ticket) -> None:  # noqa: ARG002
        self._num_waiting[flow] -= 1
        if not self._num_waiting[flow]:
            del self._num_waiting[flow]
            self._rest(flow)

    def value(self, flow: Hashable) -> float:
        return self._values.get(flow, 0.0)

    def _set(self, flow: Hashable, value: float) -> None:
        self._values[flow] = value
        if flow not in self._num_waiting:
            self._rest(flow)

    def _rest(self, flow: Hashable) -> None:
        self._idle[flow] = None
        self._idle.move_to_end(flow)
        if len(self._idle) > MOST_IDLE:
            gone, _ = self._idle.popitem(last=False)
            self._forget(gone)

    def _forget(self, flow: Hashable) -> None:
        self._values.pop(flow, None)


class Attained(FlowValues):
    """Seconds that the calls of a program ran, all together (PLAS)."""

    def serve(self, flow: Hashable, ticket: Ticket, service: Service) -> None:  # noqa: ARG002
        self._set(flow, self.value(flow) + service.seconds)


class LongestPath(FlowValues):
    """Seconds of the longest chain of a program's calls that was seen (ATLAS).

    A call stands behind all that its program had finished when it began; calls that run side by
    side thus count once.
    """

    def left(self, flow: Hashable, ticket: Ticket) -> None:
        ticket.path_s = self.value(flow)
        super().left(flow, ticket)

    def serve(self, flow: Hashable, ticket: Ticket, service: Service) -> None:
        ticket.path_s += service.seconds
        self._set(flow, max(self.value(flow), ticket.path_s))


class TokenCounters(FlowValues):
    """Weighted tokens that each tenant was given (VTC, arXiv 2401.00588).

    A tenant of which nothing waited is lifted to the least of those that wait, or if none does to
    the last that did: time in which it asked for nothing is no credit.
    """

    def __init__(self, prefill_weight: float = 1.0, decode_weight: float = 2.0) -> None:
        super().__init__()
        self._prefill_weight = prefill_weight
        self._decode_weight = decode_weight
        self._waiting: Ranking[Hashable] = Ranking()
        self._last = 0.0

    def arrived(self, flow: Hashable, ticket: Ticket, now_s: float) -> None:
        super().arrived(flow, ticket, now_s)
        if flow not in self._waiting:
            least = self._waiting.first_key() if self._waiting else self._last
            self._set(flow, max(self.value(flow), least))
            self._waiting.put(flow, self.value(flow))

    def left(self, flow: Hashable, ticket: Ticket) -> None:
        super().left(flow, ticket)
        if not self._num_waiting[flow]:
            self._waiting.remove(flow)
            self._last = max(self._last, self.value(flow))

    def serve(self, flow: Hashable, ticket: Ticket, service: Service) -> None:  # noqa: ARG002
        prefill = self._prefill_weight * service.prefill_tokens
        self._set(flow, self.value(flow) + prefill + self._decode_weight * service.decode_tokens)
        if flow in self._waiting:
            self._waiting.put(flow, self.value(flow))
