"""The events of a run as frames of its stream.

{"type": "run", ...}      the run has begun; the object that GET /v1/runs/{id} gives
{"type": "text", ...}     a piece of text; `final` if the app returns that very text
{"type": "node", ...}     a primitive: its `state` is ready, start, first_token, retry, end or error
{"type": "query", ...}    the graph of a part of the run begins or ends
{"type": "result", ...}   the run as it ended; or {"type": "error", ...} with its `error`;
                          or {"type": "waiting", ...}: it goes on when a person has answered
"""

from typing import Any

from pydantic_core import to_jsonable_python

from runtime.events import Event
from teola.app_serving.run import Run
from teola.serving.answer import frame

_OF_OTHERS = ("behind", "num_more", "more_s", "served")  # these name what other clients run


def first_frame(run: Run) -> bytes:
    return frame({"type": "run", **run.body})


def last_frame(run: Run) -> bytes:
    """Of a run that ended."""
    kinds = {"completed": "result", "waiting": "waiting"}
    return frame({"type": kinds.get(run.ended.result().status, "error"), **run.body})


class EventFrames:
    """Of one run; `t` is in seconds since its first event."""

    def __init__(self, run: Run) -> None:
        self._shows_errors = run.shows_errors
        self._began_t: float | None = None

    def of(self, event: Event) -> bytes:
        began_t = self._began_t = event.t if self._began_t is None else self._began_t
        body = self._body_of(event)
        return frame({**body, "query": event.query, "t": round(event.t - began_t, 6)})

    def _body_of(self, event: Event) -> dict[str, Any]:
        body = _body_of(event)
        if event.kind in ("error", "retry") and not self._shows_errors:
            body["fields"]["error"] = body["fields"]["error"].partition(":")[0]  # the type
        return body


def _body_of(event: Event) -> dict[str, Any]:
    fields = event.fields
    if event.kind == "text":
        said = {"text": fields["text"], "final": bool(fields["final"])}
        return {"type": "text", **said, "node": event.node}
    if event.kind == "query":
        return {"type": "query", "state": "start", "app": fields.get("app")}
    if event.kind == "done":
        return {"type": "query", "state": "end", "status": fields["status"]}
    own = {name: value for name, value in fields.items() if name not in _OF_OTHERS}
    told = to_jsonable_python(own, serialize_unknown=True, inf_nan_mode="null")
    node = {"state": event.kind, "node": event.node, "op": event.op}
    return {"type": "node", **node, "fields": told}
