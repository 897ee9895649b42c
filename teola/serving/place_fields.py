"""What a client says of the query that its request is of: see `backends.place.Place`.

Clients are no authority on each other: unless the server allows it, what one says orders its own
requests among themselves, in the turns that they have anyway.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from backends.place import Left, Place
from backends.policy.named import POLICIES
from backends.request_limits import MAX_PLACE_CHARS, MAX_PLACE_S
from backends.served import Served
from teola.serving.fields import INT_END, Fields

MOST_QUERIES = 4096  # whose work is known; of more, those heard of longest ago are forgotten
OTHERS = "other clients"


def _known(name: str) -> str:
    if name not in POLICIES:
        raise ValueError(f"unknown policy {name!r}; known: {', '.join(sorted(POLICIES))}")
    return name


_Name = Annotated[str, Field(max_length=MAX_PLACE_CHARS)]
_Policy = Annotated[str, AfterValidator(_known)]
_Seconds = Annotated[float, Field(ge=0, le=MAX_PLACE_S)]


class PlaceFields(Fields):
    """Times are seconds from now."""

    query: Annotated[str, Field(min_length=1, max_length=MAX_PLACE_CHARS)]
    left_s: _Seconds = 0.0
    depth: int = Field(0, ge=0, lt=INT_END)
    group: _Name | None = None
    objective: Literal["latency", "throughput"] = "latency"
    node: _Name = ""
    work_s: _Seconds = 0.0
    tenant: _Name = ""
    program: _Name = ""
    due_in_s: float | None = Field(None, ge=-MAX_PLACE_S, le=MAX_PLACE_S)
    query_left_s: _Seconds | None = None  # of all that the query still asks for
    query_age_s: _Seconds = 0.0
    guess: Annotated[str, Field(min_length=1, max_length=MAX_PLACE_CHARS)] | None = None  # it runs
    # ahead of what may never ask for it, behind all that somebody waits for
    policy: _Policy | None = None  # that orders the engine's steps from now on


@dataclass(frozen=True, slots=True)
class Client:
    """Who sent a request."""

    name: str  # its tenant where the server tells tenants, else its address
    tenant: str = ""  # as the server knows it
    is_believed: bool = False  # what it says counts among all clients


NOBODY = Client("")


class KnownQueries:
    """The queries of all clients. Requests of one query share what is left of it, so that a later
    one corrects those that wait and run."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, Left] = OrderedDict()
        self._wanted: OrderedDict[str, None] = OrderedDict()  # the word may overtake its guess

    def place(self, said: PlaceFields | None, client: Client, now_s: float) -> Place | None:
        """Where a request stands; None: nothing is known of it."""
        if said is None:
            return Place("", 0.0, tenant=client.tenant) if client.tenant else None
        return Place(
            query=_own(client, said.query),
            left_s=said.left_s,
            depth=said.depth,
            group=said.group,
            objective=said.objective,
            node=said.node,
            work_s=said.work_s,
            tenant=_tenant(client, said.tenant),
            program=_own(client, said.program) if said.program else "",
            deadline_s=None if said.due_in_s is None else now_s + said.due_in_s,
            left=self._left_of(said, client, now_s),
            client="" if client.is_believed else client.name,
        )

    def wanted(self, client: Client, guesses: Iterable[str]) -> None:
        """Somebody waits for these guesses of a client now."""
        for guess in guesses:
            name = _guess(client, guess)
            self._wanted[name] = None
            if len(self._wanted) > MOST_QUERIES:
                self._wanted.popitem(last=False)
            if left := self._left.get(name):
                left.is_guess = False

    def _left_of(self, said: PlaceFields, client: Client, now_s: float) -> Left | None:
        if said.query_left_s is None and said.guess is None:
            return None
        name = _own(client, said.query)
        if said.guess is not None:
            name = _guess(client, said.guess)
        left = self._left.setdefault(name, Left(0.0))
        left.work_s, left.since_s = said.query_left_s or 0.0, now_s - said.query_age_s
        left.is_guess = said.guess is not None and name not in self._wanted
        self._left.move_to_end(name)
        if len(self._left) > MOST_QUERIES:
            self._left.popitem(last=False)
        return left


def told_to(client: Client, served: Served) -> Served:
    """How a request was served, without names of other clients."""
    behind: dict[str, float] = {}
    for name, time_s in _named(client, served.behind):
        behind[name] = behind.get(name, 0.0) + time_s
    ((by, _),) = _named(client, ((served.preempted_by, 0.0),))
    ordered = sorted(behind.items(), key=lambda each: -each[1])
    return replace(served, behind=tuple(ordered), preempted_by=by if served.preempted_by else "")


def _named(client: Client, behind: tuple[tuple[str, float], ...]) -> Iterator[tuple[str, float]]:
    own = _own(client, "")
    for name, time_s in behind:
        yield (name.removeprefix(own) if name.startswith(own) else OTHERS), time_s


def _own(client: Client, name: str) -> str:
    return f"{client.name} {name}"


def _guess(client: Client, guess: str) -> str:
    return _own(client, f"guess\0{guess}")


def _tenant(client: Client, said: str) -> str:
    """The server's word counts, and a client's own tenants among themselves."""
    if client.is_believed:
        return client.tenant or said
    return _own(client, said)
