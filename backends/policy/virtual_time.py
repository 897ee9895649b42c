"""The account of fair queueing by virtual time: when an ideal server would finish each query."""

from collections.abc import Hashable

from backends.policy.accounts import FlowValues
from backends.policy.base import Service, Ticket
from backends.policy.ranking import Ranking


class VirtualFinish(FlowValues):
    """The virtual time at which a server shared in equal parts (GPS) would have done a query's
    work.

        virtual time V runs at 1 / (queries that the ideal server has not done)
        finish of a query = V at its first request + its work

    A server that always takes the least finish ends each query no later than the ideal one does,
    but for the longest request, which it does not interrupt.
    """

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0
        self._at_s = 0.0
        self._ideal: Ranking[Hashable] = Ranking()  # queries that the ideal server still serves

    def arrived(self, flow: Hashable, ticket: Ticket, now_s: float) -> None:
        super().arrived(flow, ticket, now_s)
        if flow not in self._values:
            self._advance(now_s)
            finish_s = self._virtual_s + (ticket.place.work_s or ticket.place.left_s)
            self._set(flow, finish_s)
            self._ideal.put(flow, finish_s)

    def serve(self, flow: Hashable, ticket: Ticket, service: Service) -> None:
        """Changes nothing: who was served early has no finish before that of the ideal server."""

    def _forget(self, flow: Hashable) -> None:
        """The ideal server has one query less, since it was last looked at."""
        super()._forget(flow)
        if flow in self._ideal:
            self._ideal.remove(flow)

    def _advance(self, now_s: float) -> None:
        left_s, self._at_s = max(0.0, now_s - self._at_s), max(now_s, self._at_s)
        while self._ideal:
            next_s = (self._ideal.first_key() - self._virtual_s) * len(self._ideal)
            if next_s > left_s:
                self._virtual_s += left_s / len(self._ideal)
                return
            left_s -= next_s
            self._virtual_s = self._ideal.first_key()
            self._ideal.pop()
