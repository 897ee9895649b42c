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

Under policies that go by attained service what runs keeps its pages for a while (`turns`).

So that nothing starves under policies that have patience, the oldest of all goes first once it is
`patience_s` old; it takes one place in a step.
"""

import logging
from collections.abc import Callable
from collections.abc import Sequence as Items
from itertools import filterfalse, islice

from backends.llm.planner.lines import Line, Lines, client_of, is_guess
from backends.llm.planner.policy import Changes, View
from backends.llm.planner.turns import Turns
from backends.llm.sequence.sequence import Sequence
from backends.place import Place
from backends.policy.among_clients import ClientTurns, in_their_turns, is_by_tenant
from backends.policy.base import Policy

_log = logging.getLogger("teola.llm")

MOST_ORDERED = 128  # of those that wait: a step takes fewer; at least four times as many as run
MOST_LOOKED_UP = 128  # sequences whose prefix is looked up: a lookup costs microseconds


class ByPolicy:
    """An `Order`, for sequences of clients who all are believed and for those who are not."""

    def __init__(self, policy: Policy, patience_s: float) -> None:
        self._believed = _ByPlaces(policy, patience_s, _told)
        self._plain = _ByPlaces(policy, patience_s, _believed) if is_by_tenant(policy) else None
        self._turns = ClientTurns[Sequence](client_of, lambda sequence: sequence.arrival)

    def __call__(self, sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:
        believed = self._believed(sequences, view, now_s)
        if not self._believed.has_clients:
            self._turns.order(())  # those of clients have ended, and are let go
            if self._plain is not None and not sequences:
                self._plain(sequences, view, now_s)
            return believed
        if self._plain is None:
            return _guesses_last(self._turns.order(believed))
        return in_their_turns(self._plain(sequences, view, now_s), believed, client_of)


class _ByPlaces:
    """It keeps the policy's account by what it sees of the sequences at each step.

    A step costs O(log n) for each sequence that comes, ends or runs: all are kept in order, and
    only the head is read. What it returns are those that run, the first of those that wait, and the
    oldest; or all, where clients are to have their turns."""

    def __init__(
        self, policy: Policy, patience_s: float, known: Callable[[Sequence], Place | None]
    ) -> None:
        """`known`: where a sequence stands, if it is of a query."""
        self._policy = policy
        self._known = known
        self._patience_s = patience_s
        self._account = None if policy.account is None else policy.account()
        value = (lambda _: 0.0) if self._account is None else self._account.value
        self._lines = Lines(policy, value)
        self._turns = Turns()
        self._last_step = -1
        self._has_failed = False

    @property
    def has_clients(self) -> bool:
        """Whether some are of clients that say where they stand, as of the last step."""
        return self._lines.num_of_clients > 0

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
        self._keep_up(sequences, view, now_s)
        if _all_decode(sequences, view) or self._knows_nothing:
            return _guesses_last(sequences) if self._lines.has_guesses else sequences
        if self._policy.reads_known:
            self._look_up(sequences, view, now_s)
        num_waiting = max(MOST_ORDERED, 4 * view.max_running)
        if self.has_clients:
            num_waiting = len(sequences)
        running = sequences[: view.num_running]
        ordered = [line.sequence for line in self._lines.head(running, num_waiting)]
        oldest = _oldest(sequences, view)
        if not (oldest.is_running or oldest in ordered):
            ordered.append(oldest)
        if self._account is not None:
            ordered = self._turns.first(ordered, running, view)
        if self._policy.patience_s is None or now_s - oldest.service.arrived_s < self._patience_s:
            return ordered
        return [oldest, *(sequence for sequence in ordered if sequence is not oldest)]

    @property
    def _knows_nothing(self) -> bool:
        return self._account is None and not self._lines.num_known

    def _keep_up(self, sequences: Items[Sequence], view: View, now_s: float) -> None:
        changes, lines = view.changes, self._lines
        if changes is None or changes.step != self._last_step + 1:
            changes = self._found(sequences, view)
        self._last_step = changes.step
        lines.note_changes()
        for sequence in changes.left:
            self._charge(lines.remove(sequence), has_ended=True)
        for sequence in changes.ran:
            if sequence in lines:
                self._charge(lines[sequence], has_ended=False)
        for sequence in changes.joined:
            known = self._known(sequence)
            line = Line(sequence, known or _made_up(sequence), is_known=known is not None)
            if self._account is not None:
                self._account.arrived(self._policy.flow(line), line, now_s)
            self._charge(line, has_ended=False)
            lines.add(line)

    def _found(self, sequences: Items[Sequence], view: View) -> Changes:
        """What is new since this order saw all the last time, perhaps some steps ago."""
        return Changes(
            -1 if view.changes is None else view.changes.step,
            {sequence: None for sequence in sequences if sequence not in self._lines},
            self._lines.besides(sequences),
            dict.fromkeys(sequences[: view.num_running]),
        )

    def _charge(self, line: Line, *, has_ended: bool) -> None:
        if self._account is None:
            return
        flow = self._policy.flow(line)
        if not line.has_begun and (has_ended or line.sequence.is_running):
            line.has_begun = True
            self._account.left(flow, line)
        if line.has_begun:
            self._account.serve(flow, line, line.newly_given())
            self._lines.reorder(flow)

    def _look_up(self, sequences: Items[Sequence], view: View, now_s: float) -> None:
        """How much of each prompt is computed; all of it, of those that waited too long."""
        for sequence in sequences[: view.num_running]:
            self._lines.know(sequence, sequence.num_prompt)
        page_size = view.cache.pool.page_size
        for sequence in sequences[view.num_running : view.num_running + MOST_LOOKED_UP]:
            is_new = now_s - sequence.service.arrived_s < self._patience_s
            num_known = (
                len(view.known_pages(sequence)) * page_size if is_new else sequence.num_prompt
            )
            self._lines.know(sequence, num_known)


def _told(sequence: Sequence) -> Place | None:
    """Where it stands, by whoever's word."""
    place = sequence.request.place
    return place if place is not None and place.query else None


def _believed(sequence: Sequence) -> Place | None:
    """The same without what clients say."""
    return None if client_of(sequence) else _told(sequence)


def _made_up(sequence: Sequence) -> Place:
    """Of what is of no query: by its prompt."""
    place = sequence.request.place
    tenant = sequence.salt if place is None else place.client or place.tenant
    return Place(sequence.request.id, sequence.service.prefill_s, tenant=tenant)


def _oldest(sequences: Items[Sequence], view: View) -> Sequence:
    """Of those that run and those that wait, each by arrival; a guess only where all are."""
    parts = islice(sequences, view.num_running), islice(sequences, view.num_running, None)
    firsts = [each for part in parts for each in islice(filterfalse(is_guess, part), 1)]
    return min(firsts or sequences, key=lambda sequence: sequence.arrival)


def _guesses_last(ordered: Items[Sequence]) -> Items[Sequence]:
    guesses = [sequence for sequence in ordered if is_guess(sequence)]
    if not guesses:
        return ordered
    return [*(each for each in ordered if not is_guess(each)), *guesses]


def _all_decode(sequences: Items[Sequence], view: View) -> bool:
    """Then all are in the step, in whatever order, as long as each may have another page."""
    has_room = view.num_running <= min(view.max_running, view.cache.pool.num_free)
    return (
        has_room
        and len(sequences) == view.num_running
        and all(sequence.is_decoding for sequence in sequences)
    )
