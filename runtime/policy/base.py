"""What a policy sees and what it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runtime.hints import Hint


@dataclass(frozen=True, slots=True)
class Ticket:
    """A waiting request as policies see it."""

    order: int  # arrival order at this engine
    arrival_s: float
    query: str
    hint: Hint
    op: str
    num_items: int
    due_s: float = 0.0  # work in bulk: from when on it counts like work somebody waits for


# (waiting in arrival order, most items in the batch, now) -> chosen, at least one if any waits
Policy = Callable[[Sequence[Ticket], int, float], Sequence[Ticket]]


def fill(candidates: Sequence[Ticket], max_items: int) -> list[Ticket]:
    """The longest head of `candidates` of one op that fits; the first always fits.

    A batch is of one op, since an engine runs one kind of work at a time.
    """
    chosen: list[Ticket] = []
    room = max_items
    for ticket in candidates:
        if chosen and (ticket.op != chosen[0].op or ticket.num_items > room):
            continue
        chosen.append(ticket)
        room -= ticket.num_items
        if room <= 0:
            break
    return chosen
