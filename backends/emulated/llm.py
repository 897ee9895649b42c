"""The LLM engine on an emulated device: steps on a thread of its own that sleeps, or, on a virtual
clock, as a task of the loop."""

import asyncio
import logging

from backends.base import Capability
from backends.emulated.loop_worker import InlinePreparation, LoopInbox, LoopWorker
from backends.emulated.options import EmulatedLLMOptions
from backends.emulated.recording import Recording, RecordingStats, read_recording
from backends.emulated.roofline import Roofline
from backends.emulated.timeline import LoopTimer, StepTimer, timer_for
from backends.llm.engine import LLMEngine, capabilities_with
from backends.llm.stepped_core import SteppedCore
from backends.optional import optional_imports

_log = logging.getLogger("teola.emulated")
_LACKED: frozenset[Capability] = frozenset(
    ("logprobs", "prompt_logprobs", "adapters")
)  # these take real weights


class EmulatedLLM(LLMEngine):
    """Every capability of the embedded engine but those that take real weights."""

    def __init__(
        self, url: str, roofline: Roofline, kv_tokens: int, options: EmulatedLLMOptions
    ) -> None:
        super().__init__(
            url,
            options.max_running,
            self._make_core,
            device=options.device,
            capabilities=capabilities_with(options.eviction) - _LACKED - _unrepeatable(options),
        )
        self._roofline = roofline
        self._kv_tokens = kv_tokens
        self._options = options
        self._recording: Recording | None = None
        self._timer: StepTimer | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def recording_stats(self) -> RecordingStats:
        """How many requests were in the recording; zeros without one."""
        return self._recording.stats if self._recording is not None else RecordingStats()

    @property
    def device_busy_s(self) -> float:
        """Seconds of its device's steps so far."""
        return self._timer.busy_s if self._timer is not None else 0.0

    @property
    def num_preemptions(self) -> int:
        """Sequences that gave up their pages to others, so far."""
        return getattr(self._core, "num_preemptions", 0)

    async def start(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = timer_for(self._options.device, loop)
            if isinstance(self._timer, LoopTimer):
                self._preparation = InlinePreparation()
                self._inbox = LoopInbox()
        await super().start()

    async def close(self) -> None:
        await super().close()
        tell_missing(self._info.model, self._recording)

    def _make_core(self) -> SteppedCore:
        with optional_imports("local"):
            from backends.emulated.core import EmulatedCore
            from backends.emulated.texts import texts_of
        options = self._options
        assert self._timer is not None, "start sets it"
        if options.recording is not None and self._recording is None:
            self._recording = read_recording(options.recording)
        texts = texts_of(options.tokenizer)
        return EmulatedCore(
            self._roofline, texts, options, self._kv_tokens, self._timer, self._recording
        )

    async def _load_core(self) -> SteppedCore:
        if isinstance(self._timer, LoopTimer):
            return self._make_core()
        return await super()._load_core()

    def _run_worker(self, core: SteppedCore) -> None:
        if not isinstance(self._timer, LoopTimer):
            super()._run_worker(core)
            return
        assert isinstance(self._inbox, LoopInbox), "start sets both"
        worker = LoopWorker(core, self._inbox, self._outbox, self._timer)
        self._task = asyncio.get_running_loop().create_task(worker.run_on_loop())
        self._task.add_done_callback(self._worker_ended)

    def _worker_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._inbox.close()
            _log.error("the engine's task ends", exc_info=error)

    async def _join_worker(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)
        await super()._join_worker()


def _unrepeatable(options: EmulatedLLMOptions) -> frozenset[Capability]:
    """Where lengths are drawn from a trace, each query has others."""
    return frozenset(("repeatable",)) if options.lengths is not None else frozenset()


def tell_missing(url: str, recording: Recording | None) -> None:
    """Warn when answers were made up though there is a recording."""
    if recording is None or not recording.stats.missing:
        return
    stats = recording.stats
    total = stats.found + stats.missing
    _log.warning(
        "%s: %d of %d requests were not in the recording %s; their outputs were made up",
        url,
        stats.missing,
        total,
        recording.name,
    )
    stats.found = stats.missing = stats.with_other_attrs = 0
