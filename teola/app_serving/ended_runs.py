"""Runs that ended, as their clients may still ask for them; the oldest are forgotten."""

from collections import OrderedDict

MAX_RUNS = 1000
MAX_BYTES = 64 * 2**20


class EndedRuns:
    """Bodies by run id, bounded in number and in bytes."""

    def __init__(self, max_runs: int = MAX_RUNS, max_bytes: int = MAX_BYTES) -> None:
        self._max_runs = max_runs
        self._max_bytes = max_bytes
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._num_bytes = 0

    def put(self, run_id: str, body: bytes) -> None:
        """A body larger than all the room is not kept at all."""
        self._bodies[run_id] = body
        self._num_bytes += len(body)
        while len(self._bodies) > self._max_runs or self._num_bytes > self._max_bytes:
            _, forgotten = self._bodies.popitem(last=False)
            self._num_bytes -= len(forgotten)

    def get(self, run_id: str) -> bytes | None:
        return self._bodies.get(run_id)
