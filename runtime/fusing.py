"""Whether a prompt reads the KV of its chunks, as its real texts and those before it say.

The plan was chosen before the run (`graph_opt/passes/fuse_chunks.py`), by sizes that were guesses
and as if all chunks had been computed before. Here the texts are there. A plan that the user named
is taken wherever there is a chunk to read; one that was chosen for them must pay.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from backends.base import Chunk, FusionReport, Outcome, Request, Result
from runtime.cost.sizes import num_tokens
from runtime.job import Job, Scheduler
from runtime.ops.table import OP_RUNS
from runtime.scheduler_layer import SchedulerLayer

WEIGHT = 0.1  # of the newest prompt
ENOUGH = 0.25  # of chunks must come again: plans compute about as much of each
MAX_SEEN = 1 << 15


class ChunkHistory:
    """Whether the chunks of prompts at one engine come again. At first they are expected to."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, None] = OrderedDict()  # hashes, least recently seen first
        self._share = 1.0  # of chunks that were there, recently

    @property
    def pays(self) -> bool:
        return self._share >= ENOUGH

    def see(self, chunks: Sequence[str]) -> float:
        """The share of chunks that came before."""
        keys = [hash(str(chunk)) for chunk in chunks]
        num_known = sum(key in self._seen for key in keys)
        for key in keys:
            self._seen[key] = None
            self._seen.move_to_end(key)
        while len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return num_known / len(keys) if keys else self._share

    def note(self, share: float) -> None:
        """Learn what share of a prompt's chunks was there."""
        self._share += WEIGHT * (share - self._share)


class Fusing(SchedulerLayer[Scheduler]):
    """An engine's scheduler, but for prompts with chunks. The history is that of all queries."""

    def __init__(self, scheduler: Scheduler, history: ChunkHistory) -> None:
        super().__init__(scheduler)
        self._history = history

    def submit(self, job: Job) -> None:
        """Queue a job, exact where fusion does not pay."""
        request = job.request
        if "fusion" in request.attrs and OP_RUNS[request.op].extends_context:
            self._settle(job, request)
        elif chunks := _chunks_of(request):  # they are encoded ahead
            self._history.see(chunks)
        self._scheduler.submit(job)

    def cancel(self, job: Job) -> None:
        self._scheduler.cancel(job)

    def _settle(self, job: Job, request: Request) -> None:
        chunks = _chunks_of(request)
        share, on_done = self._history.see(chunks), job.on_done
        is_fused = _pays(request.attrs, chunks, self._history)
        request.attrs = _without(request.attrs, "fusion_from", *(() if is_fused else ("fusion",)))

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, Result):
                self._history.note(_share_found(outcome.fusion, share))
            on_done(outcome)

        job.on_done = done


def _chunks_of(request: Request) -> Sequence[str]:
    return [part for part in request.inputs if isinstance(part, Chunk)]


def _pays(attrs: Mapping[str, Any], chunks: Sequence[str], history: ChunkHistory) -> bool:
    """The first chunk stands where it was computed, right behind the prompt's prefix: it is an
    exact match and no saving. The others must have `fusion_from` tokens, if that is given."""
    least, moved = attrs.get("fusion_from"), chunks[1:]
    if least is None:
        return bool(moved)
    return sum(map(num_tokens, moved)) >= least and history.pays


def _share_found(report: FusionReport | None, expected: float) -> float:
    if report is None:  # computed exactly, or by a server that tells it later
        return expected
    return 1 - report.num_encoded / max(1, report.num_chunks)


def _without(attrs: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in attrs.items() if key not in names}
