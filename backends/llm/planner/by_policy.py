"""The order of service by a policy of `backends.policy`, as schedulers use them before engines.

What runs and what waits is in one line, so a request of a query that is to go first takes the slot
of another, which goes on afterwards. Where requests stand comes with them (`Request.place`), and
may change while they wait or run. A request of no query, as those of OpenAI's clients, counts as a
query of its own of which its prompt is all that is left; its tenant is its `cache_salt`, unless the
server knows it.

What a client of a server says of its queries counts among its own requests
(`backends.policy.among_clients`): they share the turns that they have without its word.

What runs ahead of what may never ask for it (`Place.is_guess`) goes behind all others, whatever the
policy.

So that nothing starves under policies that have patience, the oldest of all goes first once it is
`patience_s` old; it takes one place in a step.
"""

import logging
from collections.abc import Callable, Hashable
from collections.abc import Sequence as Items
from itertools import islice

from backends.base import Place
from backends.llm.planner.policy import View
from backends.llm.sequence.sequence import Sequence
from backends.policy.among_clients import ClientTurns, in_their_turns, is_by_tenant
from backends.policy.base import Policy, Service, Ticket
from backends.policy.in_order import in_order

_log = logging.getLogger("teola.llm")

MOST_ORDERED = 128  # of those that wait, in steps between two that put all in order; at least
# four times as many as run
MOST_LOOKED_UP = 128  # sequences whose prefix is looked up: a lookup costs microseconds


class _Line(Ticket):
    """A sequence as the policy sees it."""

    __slots__ = ("given", "has_begun", "sequence")

    def __init__(self, sequence: Sequence, place: Place) -> None:
        arrived_s = sequence.service.arrived_s
        super().__init__(sequence.arrival, arrived_s, place, sequence.request.op, 1)
        self.sequence = sequence
        self.has_begun = False
        self.given = Service()

    def newly_given(self) -> Service:
        """What it was given since it was last asked."""
        usage, last = self.sequence.usage, self.given
        now = Service(self.sequence.service.served_s, usage.prefill_tokens, usage.decode_tokens)
        self.given = now
        return Service(
            max(0.0, now.seconds - last.seconds),  # it counts from 0 again after a long wait
            now.prefill_tokens - last.prefill_tokens,
            now.decode_tokens - last.decode_tokens,
        )


class _Front:
    """Which of very many sequences a step puts in order, so that its cost does not grow with all.

    Every so many steps all are put in order. Between them only what runs, the first of those that
    wait, the oldest, and what has come since."""

    def __init__(self) -> None:
        self._first: set[Sequence] = set()  # of those that waited when all were put in order
        self._last_arrival = 0  # at that time
        self._num_steps = 0  # since then

    def split(
        self, sequences: Items[Sequence], view: View
    ) -> tuple[Items[Sequence], list[Sequence]]:
        """Those to put in order, and the rest, which goes behind them."""
        most = max(MOST_ORDERED, 4 * view.max_running)
        self._num_steps += 1
        if len(sequences) - view.num_running <= most * self._num_steps:
            return sequences, []
        near = list(sequences[: view.num_running + 1])
        rest: list[Sequence] = []
        for sequence in sequences[view.num_running + 1 :]:
            is_near = sequence in self._first or sequence.arrival > self._last_arrival
            (near if is_near else rest).append(sequence)
        num_near = len(near) - view.num_running
        return (near, rest) if view.max_running <= num_near <= 2 * most else (sequences, [])

    def note(self, ordered: Items[Sequence], view: View) -> None:
        """All were put in order."""
        waiting = (sequence for sequence in ordered if not sequence.is_running)
        self._first = set(islice(waiting, max(MOST_ORDERED, 4 * view.max_running)))
        self._last_arrival = max(sequence.arrival for sequence in ordered)
        self._num_steps = 0


class ByPolicy:
    """An `Order`, for sequences of clients who all are believed and for those who are not."""

    def __init__(self, policy: Policy, patience_s: float) -> None:
        self._believed = _ByPlaces(policy, patience_s, _told)
        self._plain = _ByPlaces(policy, patience_s, _believed) if is_by_tenant(policy) else None
        self._turns = ClientTurns[Sequence](_client_of, lambda sequence: sequence.arrival)

    def __call__(self, sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:
        believed = self._believed(sequences, view, now_s)
        if not any(map(_client_of, sequences)):
            return believed
        if self._plain is None:
            return _guesses_last(self._turns.order(believed))
        return in_their_turns(self._plain(sequences, view, now_s), believed, _client_of)


class _ByPlaces:
    """It keeps the policy's account by what it sees of the sequences at each step."""

    def __init__(
        self, policy: Policy, patience_s: float, known: Callable[[Sequence], Place | None]
    ) -> None:
        """`known`: where a sequence stands, if it is of a query."""
        self._policy = policy
        self._known = known
        self._patience_s = patience_s
        self._account = None if policy.account is None else policy.account()
        self._lines: dict[Sequence, _Line] = {}
        self._since: dict[Hashable, int] = {}  # flow -> its first arrival, while it is here
        self._front = _Front()
        self._has_failed = False

    def __call__(self, sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:
        if self._has_failed:
            return sequences
        try:
            return self._ordered(sequences, view, now_s)
        except Exception:  # of a policy of the user's own: schedulers tell the query
            _log.exception("policy %r raised; steps go by arrival", self._policy.name)
            self._has_failed = True
            return sequences

    def _ordered(self, sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:
        if self._account is not None:
            self._look_at(sequences, now_s)
        if _all_decode(sequences, view) or self._knows_nothing(sequences):
            return _guesses_last(sequences)
        near, rest = self._front.split(sequences, view)
        lines = [self._line(sequence) for sequence in near]
        for line in lines:
            line.place = self._place_of(line.sequence)
        if self._policy.reads_known:
            self._look_up(lines, view, now_s)
        value = (lambda _: 0.0) if self._account is None else self._account.value
        self._note_flows(lines, is_all=not rest)
        found = in_order(self._policy, lines, value, since=self._since)
        ordered = _guesses_last([*(line.sequence for line in found), *rest])
        if not rest:
            self._front.note(ordered, view)
            self._lines = {line.sequence: line for line in found}
        if self._policy.patience_s is None:
            return ordered
        return self._oldest_first(ordered, min(near, key=_by_age), now_s)

    def _note_flows(self, lines: Items[_Line], *, is_all: bool) -> None:
        """The age of a flow is not that of the oldest request that is left of it: else two queries
        with as much to do would take turns at each end of a request, and both would end late."""
        before = self._since
        since: dict[Hashable, int] = {} if is_all else before
        for line in lines:
            flow = self._policy.flow(line)
            since[flow] = min(line.order, since.get(flow, before.get(flow, line.order)))
        self._since = since

    def _knows_nothing(self, sequences: Items[Sequence]) -> bool:
        return self._account is None and not any(map(self._known, sequences))

    def _place_of(self, sequence: Sequence) -> Place:
        return self._known(sequence) or _made_up(sequence)

    def _line(self, sequence: Sequence) -> _Line:
        line = self._lines.get(sequence)
        if line is None:
            line = self._lines[sequence] = _Line(sequence, self._place_of(sequence))
        return line

    def _look_at(self, sequences: Items[Sequence], now_s: float) -> None:
        assert self._account is not None, "only accounts must see all"
        present = {sequence: self._lines.get(sequence) for sequence in sequences}
        gone = [line for sequence, line in self._lines.items() if sequence not in present]
        self._lines = {
            sequence: _Line(sequence, self._place_of(sequence)) if line is None else line
            for sequence, line in present.items()
        }
        for line in gone:
            self._charge(line, has_ended=True)
        for sequence, line in self._lines.items():
            if present[sequence] is None:
                self._account.arrived(self._policy.flow(line), line, now_s)
            self._charge(line, has_ended=False)

    def _charge(self, line: _Line, *, has_ended: bool) -> None:
        assert self._account is not None, "only accounts are charged"
        flow = self._policy.flow(line)
        if not line.has_begun and (has_ended or line.sequence.is_running):
            line.has_begun = True
            self._account.left(flow, line)
        if line.has_begun:
            self._account.serve(flow, line, line.newly_given())

    def _look_up(self, lines: list[_Line], view: View, now_s: float) -> None:
        """How much of each prompt is computed; all of it, of those that waited too long."""
        waiting = [line for line in lines if not line.sequence.is_running]
        for line in lines:
            line.num_known = line.sequence.num_prompt
        for line in waiting[:MOST_LOOKED_UP]:
            if now_s - line.arrival_s < self._patience_s:
                num_pages = len(view.known_pages(line.sequence))
                line.num_known = num_pages * view.cache.pool.page_size
        for line in waiting[MOST_LOOKED_UP:]:
            line.num_known = 0

    def _oldest_first(
        self, ordered: Items[Sequence], oldest: Sequence, now_s: float
    ) -> Items[Sequence]:
        if now_s - oldest.service.arrived_s < self._patience_s:
            return ordered
        return [oldest, *(sequence for sequence in ordered if sequence is not oldest)]


def _told(sequence: Sequence) -> Place | None:
    """Where it stands, by whoever's word."""
    place = sequence.request.place
    return place if place is not None and place.query else None


def _believed(sequence: Sequence) -> Place | None:
    """The same without what clients say."""
    return None if _client_of(sequence) else _told(sequence)


def _client_of(sequence: Sequence) -> str:
    place = sequence.request.place
    return "" if place is None else place.client


def _made_up(sequence: Sequence) -> Place:
    """Of what is of no query: by its prompt."""
    place = sequence.request.place
    tenant = sequence.salt if place is None else place.client or place.tenant
    return Place(sequence.request.id, sequence.service.prefill_s, tenant=tenant)


def _by_age(sequence: Sequence) -> tuple[bool, int]:
    return _is_guess(sequence), sequence.arrival


def _guesses_last(ordered: Items[Sequence]) -> Items[Sequence]:
    guesses = [sequence for sequence in ordered if _is_guess(sequence)]
    if not guesses:
        return ordered
    return [*(each for each in ordered if not _is_guess(each)), *guesses]


def _is_guess(sequence: Sequence) -> bool:
    place = sequence.request.place
    return place is not None and place.is_guess


def _all_decode(sequences: Items[Sequence], view: View) -> bool:
    """Then all are in the step, in whatever order."""
    return len(sequences) == view.num_running <= view.max_running and all(
        sequence.is_decoding for sequence in sequences
    )
