"""What stands between queries and the scheduler of an engine: chunks, the memo, warm-ups.

    query ─> Fusing ─> RememberingScheduler ─> WarmUps ─> EngineScheduler
             of LLMs   with memo or salt       of servers

What each of them remembers of an engine is shared by all queries.
"""

from backends.registry import EngineSpec
from runtime.engine_scheduler import EngineScheduler
from runtime.fusing import ChunkHistory, Fusing
from runtime.job import Scheduler
from runtime.memo.fingerprint import fingerprint_of
from runtime.memo.gate import RememberingScheduler
from runtime.memo.memos import Memos, owner_of
from runtime.warm_ups import WarmUps


class Gates:
    """Makes the gates of queries, which are their own, around what is shared."""

    def __init__(self) -> None:
        self.memos = Memos()
        self.warm_ups: dict[EngineScheduler, WarmUps] = {}
        self._models: dict[str, str] = {}  # by EngineSpec.key: what each engine found on the disk
        self._chunks: dict[EngineScheduler, ChunkHistory] = {}

    def made(self, spec: EngineSpec) -> None:
        """An engine was made: it is known by the files that are there now."""
        self._models[spec.key] = fingerprint_of(spec)

    def gate(
        self, scheduler: EngineScheduler, spec: EngineSpec, memo: bool | str, salt: str | None
    ) -> Scheduler:
        """What a query with this `memo` and `salt` sends its requests to."""
        gate = self._remembering(scheduler, spec, memo, salt)
        if spec.kind != "llm":
            return gate
        return Fusing(gate, self._chunks.setdefault(scheduler, ChunkHistory()))

    def forget(self, key: str, scheduler: EngineScheduler) -> None:
        """Nobody will ask for the engine of this spec key again."""
        self._models.pop(key, None)
        self.warm_ups.pop(scheduler, None)
        self._chunks.pop(scheduler, None)

    def close(self) -> None:
        """Let go of all that is remembered; the memo's folders are closed."""
        self.memos.close()
        self.warm_ups.clear()
        self._chunks.clear()

    def _remembering(
        self, scheduler: EngineScheduler, spec: EngineSpec, memo: bool | str, salt: str | None
    ) -> Scheduler:
        able = scheduler.engine.info.capabilities
        is_repeatable = "repeatable" in able
        behind: Scheduler = scheduler
        if "warm_up" in able:
            behind = self.warm_ups.setdefault(scheduler, WarmUps(scheduler))
        if not salt and not (memo and is_repeatable):
            return behind
        remembering = self.memos.get(memo) if memo and is_repeatable else None
        owner = owner_of(spec.key, self._models[spec.key], salt)
        return RememberingScheduler(behind, remembering, owner, salt)
