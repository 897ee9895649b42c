"""Runs that ended, as their clients may still ask for them; the oldest are forgotten."""

import json
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any

from teola.app_serving.run_list import ListedRun
from teola.serving.api_errors import ApiError

MAX_RUNS = 1000
MAX_BYTES = 64 * 2**20


class EndedRuns:
    """Bodies by run id, bounded in number and in bytes."""

    def __init__(self, max_runs: int = MAX_RUNS, max_bytes: int = MAX_BYTES) -> None:
        self._max_runs = max_runs
        self._max_bytes = max_bytes
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._listed: dict[str, ListedRun] = {}
        self._num_bytes = 0

    def put(self, run: Mapping[str, Any], listed: ListedRun | None = None) -> None:
        """The body of a run, and how lists show it. One that is larger than all the room is kept
        without its result; its error says so."""
        body = json.dumps(run).encode()
        if len(body) > self._max_bytes:
            body = json.dumps(_without_result(run, len(body), self._max_bytes)).encode()
        self._bodies[run["id"]] = body
        if listed is not None:
            self._listed[run["id"]] = listed
        self._num_bytes += len(body)
        while len(self._bodies) > self._max_runs or self._num_bytes > self._max_bytes:
            self.forget(next(iter(self._bodies)))

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._bodies

    def forget(self, run_id: str) -> None:
        """It has not ended any more."""
        self._num_bytes -= len(self._bodies.pop(run_id, b""))
        self._listed.pop(run_id, None)

    @property
    def listed(self) -> Collection[ListedRun]:
        """All of them."""
        return self._listed.values()

    def get(self, run_id: str) -> bytes | None:
        return self._bodies.get(run_id)


def _without_result(run: Mapping[str, Any], num_bytes: int, max_bytes: int) -> Mapping[str, Any]:
    what = (
        f"the run has ended, but its body of {num_bytes} bytes is not kept: the server keeps "
        f"{max_bytes} for all; wait for such a run, or stream it"
    )
    error = ApiError(500, what, code="result_not_kept").body["error"]
    return {**run, "result": None, "error": error}
