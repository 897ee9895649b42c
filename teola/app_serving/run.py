"""One run of an app for a client.

The app runs on a loop of its own, so that what it computes delays no other answer; the state of the
run belongs to the server's loop. A run that is cancelled has its outcome at once, and keeps its
place among the runs of the server until it has stopped.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Lock
from time import perf_counter, time
from typing import Any, Literal, NoReturn
from uuid import uuid4

from pydantic_core import PydanticSerializationError, to_jsonable_python

from backends.base import Usage, total
from graph_opt.ops import OPS
from runtime.errors import QueryTimeout
from runtime.events import Event
from runtime.run_store.questions import Question
from runtime.run_store.rows import due_at
from teola.app_serving.app_schema import AnyApp
from teola.app_serving.inbox import Inbox
from teola.app_serving.kept_body import order_body, shown, shown_answer
from teola.app_serving.kept_run import Kept
from teola.app_serving.run_errors import CANCELLED, cut_off, from_app, in_state
from teola.app_serving.run_list import ListedRun, listed
from teola.app_serving.run_progress import RunProgress
from teola.app_serving.told import NoJSON
from teola.app_serving.usage import counts_of, usage_of
from teola.background import Background
from teola.own_thread import on_own_thread
from teola.serving.api_errors import ApiError
from teola.serving.metrics import AnswerMeter
from teola.serving.token_counts import TokenCounts
from teola.stored_runs import is_pending
from teola.telemetry.incoming import below_client

_LEAST_S = 0.01  # of a run whose trace took all its time

Status = Literal["completed", "failed", "cancelled", "waiting", "interrupted"]
ENDED: frozenset[Status] = frozenset(("completed", "failed", "cancelled"))


def new_run_id() -> str:
    """Which nobody can guess."""
    return f"run_{uuid4().hex}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    status: Status
    result: Any = None  # as plain JSON
    error: ApiError | None = None
    questions: Sequence[Question] = ()  # of one that waits


def error_of(run_id: str, outcome: Outcome) -> ApiError | None:
    """Why there is no answer, for clients that know no runs."""
    if outcome.status != "waiting":
        return outcome.error
    asked = "; ".join(each.question for each in outcome.questions)
    what = f"the run waits for a person: {asked}. Then GET /v1/runs/{run_id} has the answer"
    return in_state(what, "approval_pending")


class Run:
    """`start` it once. All but `_listen` and what runs the app is for the server's loop."""

    def __init__(
        self,
        app: AnyApp,
        arguments: Mapping[str, Any],
        meter: AnswerMeter,
        *,
        is_heard: bool,
        shows_errors: bool = False,
        kept: Kept | None = None,
        tenant: str = "",
    ) -> None:
        """With `is_heard` its events come to `inbox`; with `shows_errors` its client is told what
        exceptions of the app say; `kept` is one on the disk, which begins or goes on; `tenant` is
        for whom it is, empty: as the app says."""
        self.id = kept.id if kept else new_run_id()
        self.app = kept.app if kept else app
        self.shows_errors = shows_errors
        self.date_s = kept.began_s if kept else time()
        due_s = due_at(time() if kept else self.date_s, app.options.deadline_s)
        self._due_s = due_s if kept is None or kept.due_s is None else kept.due_s
        self._loop = asyncio.get_running_loop()
        self.inbox = Inbox(self._loop) if is_heard else None
        self.ended: asyncio.Future[Outcome] = self._loop.create_future()
        self.stopped = asyncio.Event()
        self.progress = RunProgress()
        self._arguments = arguments
        self._kept = kept
        self._tenant = tenant
        self._otel = below_client(app.options.otel)
        self._meter = meter
        self._began_s = perf_counter()
        self._ended_s: float | None = None
        self._lock = Lock()
        self._usage = Usage()
        self._final: set[tuple[str, str]] = set()  # queries and nodes that write the answer's text
        self._is_cut = False
        self._has_acted = False  # a primitive began that may do what must not be done twice
        self._tracing: asyncio.Future[Any] | None = None  # on a thread of its own

    @property
    def counts(self) -> TokenCounts:
        """The tokens of all its primitives that ended."""
        return counts_of(self._usage)

    @property
    def finish_reason(self) -> Literal["stop", "length"]:
        """Whether a limit of tokens cut the text that the app returns."""
        return "length" if self._is_cut else "stop"

    @property
    def has_begun(self) -> bool:
        """Whether its app came to run; it ends on the disk with that."""
        return self._kept is None or bool(self.app.options.resumes.has_begun)

    @property
    def is_tracing(self) -> bool:
        """Whether its app is still traced, which nothing can stop."""
        return self._tracing is not None and not self._tracing.done()

    @property
    def usage(self) -> Usage:
        return self._usage

    @property
    def body(self) -> dict[str, Any]:
        """What a client sees of it."""
        outcome = self.ended.result() if self.ended.done() else None
        error = outcome and outcome.error
        return {
            "id": self.id,
            "object": "run",
            "app": self.app.name,
            "created": int(self.date_s),
            **order_body(self.app.options.objective, self._due_s),
            "status": outcome.status if outcome else "running",
            "result": outcome.result if outcome else None,
            "error": error.body["error"] if error else None,
            "waits_for": [*map(shown, outcome.questions)] if outcome else [],
            "answered": [*map(shown_answer, self._kept.answers)] if self._kept else [],
            "usage": self.counts.body,
            "seconds": round((self._ended_s or perf_counter()) - self._began_s, 4),
        }

    @property
    def listed(self) -> ListedRun:
        """As lists show it."""
        return listed(self.date_s, self.body, self.progress.body)

    def start(self, background: Background, on_stop: Callable[["Run"], None]) -> None:
        """Begin; `on_stop` is told on this loop when nothing of the app runs any more."""
        self._background = background
        background.submit(self._drive(partial(self._stop, on_stop)))

    def cancel(self, why: ApiError = CANCELLED) -> None:
        """Ends it now; an ended one stays as it is."""
        if not self.ended.done():
            self._settle(Outcome("cancelled", error=why))
            self._background.submit(self._cancel_work())

    def cut_off(self) -> None:
        """Ends it because the server does; one on the disk goes on when it is resumed."""
        is_kept = self._kept is not None
        error = cut_off(self.id, is_kept=is_kept)
        if is_kept and not self.ended.done():
            self._settle(Outcome("interrupted", error=error))
            self._background.submit(self._cancel_work())
        self.cancel(error)

    async def outcome(self) -> Outcome:
        """Its end. Cancelling the caller does not cancel the run."""
        return await asyncio.shield(self.ended)

    def _settle(self, outcome: Outcome) -> None:
        if self.ended.done():
            return
        self._ended_s = perf_counter()
        self.ended.set_result(outcome)
        with self._lock:
            self._meter.end(is_whole=outcome.status == "completed")
        if self.inbox is not None:
            self.inbox.close()

    def _stop(self, on_stop: Callable[["Run"], None], outcome: Outcome) -> None:
        self._settle(outcome)
        self.stopped.set()
        on_stop(self)

    # on the loop of the app

    async def _drive(self, stop: Callable[[Outcome], None]) -> None:
        self._work = asyncio.ensure_future(self._outcome())
        await asyncio.wait((self._work,))
        cancelled = Outcome("cancelled", error=CANCELLED)
        outcome = cancelled if self._work.cancelled() else self._work.result()
        with suppress(RuntimeError):  # the server's loop is closed
            if self._tracing is not None and self.is_tracing:
                self._loop.call_soon_threadsafe(self._settle, outcome)
                await asyncio.wait((self._tracing,))
            self._loop.call_soon_threadsafe(stop, outcome)  # its answer finds its end written down

    async def _outcome(self) -> Outcome:
        tenant = self._tenant or self.app.options.tenant
        app = self.app.using(listener=self._listen, otel=self._otel, tenant=tenant)
        try:
            result = await (app.arun(**self._arguments) if app.is_async else self._traced(app))
            return Outcome("completed", _plain(result))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # the run's outcome, whatever its app raised
            if self._kept is not None and is_pending(error):
                return Outcome("waiting", questions=await self._kept.questions())
            return Outcome("failed", error=self._error(error))

    async def _traced(self, app: AnyApp) -> Any:
        """Of a `def` app. Tracing runs the code of its author, which may take any time: the loop
        is free meanwhile, and the time counts."""
        limit_s, began_s = app.options.timeout_s, perf_counter()
        self._tracing = on_own_thread(partial(app.prepared, **self._arguments), "teola-trace")
        await asyncio.wait((self._tracing,), timeout=limit_s)
        if self.is_tracing:
            raise QueryTimeout(
                f"app {app.name}() did not finish within {limit_s:g} s: it is still traced"
            )
        run = self._tracing.result()()
        left_s = limit_s and max(_LEAST_S, round(limit_s - (perf_counter() - began_s), 2))
        return await run(left_s)

    def _error(self, error: BaseException) -> ApiError:
        with_text = self.shows_errors
        return from_app(
            self.id, self.app.name, error, with_text=with_text, has_acted=self._has_acted
        )

    async def _cancel_work(self) -> None:
        self._work.cancel()

    # on any thread

    def _listen(self, event: Event) -> None:
        if self.app.options.listener is not None:
            self.app.options.listener(event)
        self.progress(event)
        if event.kind == "start" and OPS[event.op].effects:
            self._has_acted = True
        if event.kind == "end":
            with self._lock:
                self._usage = total((self._usage, usage_of(event.fields)))
                if (event.query, event.node) in self._final:
                    self._is_cut = event.fields.get("finish_reason") == "length"
        elif event.kind == "text" and event.fields["final"]:
            with self._lock:
                self._final.add((event.query, event.node))
                self._meter.piece()
        if self.inbox is not None:
            self.inbox.put(event)


def _plain(result: Any) -> Any:
    try:
        return to_jsonable_python(result, fallback=_refused, inf_nan_mode="null")
    except NoJSON:
        raise
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise NoJSON("the app's result cannot be written as JSON") from error


def _refused(value: Any) -> NoReturn:
    kind = type(value)
    raise NoJSON(
        f"the app's result cannot be written as JSON: it holds a {kind.__module__}."
        f"{kind.__qualname__}; return texts, numbers, lists, dicts, dataclasses or pydantic models"
    )
