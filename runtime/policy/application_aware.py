"""Application-aware batching: Teola's rounds over queries, by critical path, in task groups.

A *unit* is one request or a task group: the requests of one query that work side by side for one
consumer, of which only the last to finish counts (Parrot, section 5.2). So a group goes together,
as large a batch as there is room for, before the unit of the next query. In rounds, as in Teola's
algorithm 2: from each query, the one that waits longest first, the unit with the longest way to
the end of its query, by the cost model (the bottom level of list scheduling); then the next unit
of each, until the batch is full.

Unlike objectives are kept apart: a batch with requests that somebody waits for takes no work
wanted in bulk, which would only make it longer. Bulk work gets what batches are left, filled to
the brim, in the order of arrival.

Nobody starves. The query that waits longest comes first, so only its older fellows are before a
request; a group of very many batches goes request by request, so that queries behind it get their
turn; and bulk work falls due, one request a second and engine at most, after ten seconds: a
backlog thus never comes before those who wait.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence

from runtime.policy.base import Ticket, fill

GROUP_BATCHES = 8  # a group that needs more batches is no unit


def application_aware(waiting: Sequence[Ticket], max_items: int, now_s: float) -> list[Ticket]:
    """The most urgent unit of each query, oldest query first, then the next; bulk work last."""
    if len(waiting) == 1:
        return list(waiting)
    urgent = [
        ticket for ticket in waiting if ticket.hint.kind == "latency" or now_s >= ticket.due_s
    ]
    return fill(_in_rounds(urgent, max_items) if urgent else waiting, max_items)


def _in_rounds(tickets: Sequence[Ticket], max_items: int) -> list[Ticket]:
    queries: dict[str, list[Ticket]] = defaultdict(list)
    for ticket in tickets:
        queries[ticket.query].append(ticket)
    rounds = [
        (nth, turn, unit)
        for turn, query in enumerate(queries.values())
        for nth, unit in enumerate(_units(query, max_items))
    ]
    rounds.sort(key=lambda entry: entry[:2])
    return [ticket for _, _, unit in rounds for ticket in unit]


def _units(tickets: Sequence[Ticket], max_items: int) -> list[list[Ticket]]:
    """Of one query, the most urgent first."""
    together: dict[Hashable, list[Ticket]] = defaultdict(list)
    for ticket in tickets:
        group, depth = ticket.hint.group, ticket.hint.depth
        together[ticket.order if group is None else (group, depth)].append(ticket)
    units: list[list[Ticket]] = []
    for members in together.values():
        members.sort(key=lambda ticket: -ticket.hint.level_s)
        is_unit = sum(each.num_items for each in members) <= GROUP_BATCHES * max_items
        units += [members] if is_unit else [[each] for each in members]
    units.sort(key=lambda unit: (-unit[0].hint.level_s, unit[0].order))
    return units
