"""Who sent a request, and what its client gets of what it asks for."""

import asyncio
from typing import Protocol

from starlette.requests import Request

from backends.place import Place
from teola.serving.api_errors import invalid
from teola.serving.client_rules import ClientRules, PriorityRule
from teola.serving.place_fields import Client, PlaceFields
from teola.serving.priorities import granted
from teola.serving.served import Service
from teola.serving.served_engines import ServedEngines
from teola.serving.tenants import tenant_of
from teola.serving.warnings_header import warn


class AsksForService(Protocol):
    """The fields of a body that say how soon its answer is wanted, and for what."""

    @property
    def priority(self) -> int: ...

    @property
    def place(self) -> PlaceFields | None: ...


def service_for(
    request: Request,
    engines: ServedEngines,
    asked: AsksForService | None = None,
    *,
    itl_ms: float | None = None,
    is_heard: bool = False,
) -> Service:
    """What the client of a request gets. Raises ApiError."""
    client = client_of(request, engines.rules)
    priority, said = 0, None
    if asked is not None:
        priority = granted(request.scope, engines.rules.priority, asked.priority)
        said = _taken(request, engines.rules.priority, asked.place)
        if said is not None and said.policy is not None:
            _order(request, engines, said.policy)
    now_s = asyncio.get_running_loop().time()
    place: Place | None = engines.queries.place(said, client, now_s)
    return Service(priority, None if itl_ms is None else itl_ms / 1e3, place, client, is_heard)


def client_of(request: Request, rules: ClientRules) -> Client:
    """Its tenant, where the server is told it, or its address. Raises ApiError."""
    is_believed = rules.priority == PriorityRule.ALLOW
    if tenant := tenant_of(request, rules.tenant_header):
        return Client(f"tenant {tenant}", tenant, is_believed)
    address = request.client.host if request.client is not None else "?"
    return Client(f"address {address}", is_believed=is_believed)


def _order(request: Request, engines: ServedEngines, policy: str) -> None:
    if engines.rules.takes_policy:
        engines.order_by(policy)
    else:
        warn(request.scope, "place.policy: without effect on this server")


def _taken(request: Request, rule: PriorityRule, said: PlaceFields | None) -> PlaceFields | None:
    if said is not None and rule == PriorityRule.REFUSE:
        why = "place: this server takes none from clients (its --client-priority)"
        raise invalid("place", why, "unsupported_parameter")
    if said is not None and rule == PriorityRule.IGNORE:
        warn(request.scope, "place: without effect on this server")
        return None
    return said
