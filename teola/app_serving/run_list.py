"""`GET /v1/runs`: which runs are asked for, and one page of them, the newest first."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

from starlette.requests import Request

from runtime.run_store.pages import Cursor, Page
from runtime.run_store.served_pages import State
from teola.serving.api_errors import invalid

MOST = 1000
_DEFAULT = 100
_CURSOR = r"[0-9]{1,15}\.[0-9]{1,9}:[A-Za-z0-9_]{1,100}"
_STATES = (*get_args(State), "all")
_SHOWN = ("id", "object", "app", "created", "status", "waits_for", "usage", "seconds")

PARAMETERS: Mapping[str, Any] = MappingProxyType(
    {
        "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": _DEFAULT},
        "after": {"type": "string", "pattern": f"^{_CURSOR}$"},
        "state": {"type": "string", "enum": [*_STATES]},
        "app": {"type": "string", "minLength": 1},
    }
)


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run in a list."""

    began_s: float
    body: Mapping[str, Any]

    @property
    def place(self) -> tuple[float, str]:
        """Lists go down by it."""
        return self.began_s, self.body["id"]

    @property
    def cursor(self) -> str:
        return f"{self.began_s!r}:{self.body['id']}"


def listed(began_s: float, body: Mapping[str, Any], progress: Mapping[str, Any]) -> ListedRun:
    """A run without its result."""
    return ListedRun(began_s, {**{name: body[name] for name in _SHOWN}, "progress": progress})


@dataclass(frozen=True, slots=True)
class RunQuery:
    """What a client asks for; without a state: the runs that have not ended."""

    limit: int = _DEFAULT
    after: Cursor | None = None
    state: State | Literal["all"] | None = None
    app: str | None = None

    @property
    def page(self) -> Page:
        """With one run more, which says whether there is a next page."""
        return Page(self.limit + 1, self.after, self.app)

    @property
    def wants_ended(self) -> bool:
        return self.state in ("completed", "failed", "cancelled", "all")

    def takes(self, run: ListedRun) -> bool:
        """Whether it stands on this page or behind it."""
        return (
            self._takes_status(run.body["status"])
            and self.app in (None, run.body["app"])
            and (self.after is None or run.place < (self.after.began_s, self.after.id))
        )

    def _takes_status(self, status: str) -> bool:
        if self.state is None:
            return status in ("running", "waiting", "interrupted")
        return self.state in (status, "all")

    def body(self, runs: Iterable[ListedRun]) -> dict[str, Any]:
        """The page of such runs; of those on the disk they are one more than the page has."""
        found = sorted(runs, key=lambda run: run.place, reverse=True)
        shown = found[: self.limit]
        following = shown[-1].cursor if len(found) > len(shown) else None
        data = [run.body for run in shown if self.takes(run)]
        return {"object": "list", "data": data, "next": following}


def query_of(request: Request) -> RunQuery:
    """Raises ApiError, which names the parameter."""
    given = request.query_params.multi_items()
    names = [name for name, _ in given]
    for name in names:
        if name not in PARAMETERS:
            what = f"unknown parameter {name[:100]!r}; known are {', '.join(PARAMETERS)}"
            raise invalid(name[:100], what, "unknown_parameter")
        if names.count(name) > 1:
            raise invalid(name, f"{name} is given twice")
    found = dict(given)
    return RunQuery(
        _limit(found.get("limit")),
        _cursor(found.get("after")),
        _state(found.get("state")),
        _app(found.get("app")),
    )


def _limit(given: str | None) -> int:
    if given is None:
        return _DEFAULT
    if not re.fullmatch("[0-9]{1,4}", given) or not 1 <= int(given) <= MOST:
        raise invalid("limit", f"limit must be a number from 1 to {MOST}, not {given[:100]!r}")
    return int(given)


def _cursor(given: str | None) -> Cursor | None:
    if given is None:
        return None
    if not re.fullmatch(_CURSOR, given):
        raise invalid("after", "after must be the `next` of the page before")
    began_s, _, run_id = given.partition(":")
    return Cursor(float(began_s), run_id)


def _state(given: str | None) -> State | Literal["all"] | None:
    if given is not None and given not in _STATES:
        raise invalid("state", f"state must be one of {', '.join(_STATES)}")
    return cast('State | Literal["all"] | None', given)


def _app(given: str | None) -> str | None:
    if given == "":
        raise invalid("app", "app must be the name of an app")
    return given
