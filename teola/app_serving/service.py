"""The apps of one server, and their runs."""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from typing import Any, TypeVar, cast

from starlette.requests import Request

from backends.errors import ConfigError
from runtime.run_store.rows import RunRow
from teola.app_serving.app_schema import AnyApp
from teola.app_serving.ended_runs import EndedRuns
from teola.app_serving.going_on import take_up, tell_unfinished, unfinished_in
from teola.app_serving.kept_run import Kept
from teola.app_serving.kept_runs import Keeping, KeptRuns
from teola.app_serving.kv_collector import KVCollector
from teola.app_serving.run import ENDED, Run, new_run_id
from teola.app_serving.run_errors import CLOSING, unknown_run
from teola.app_serving.run_list import RunQuery
from teola.app_serving.run_metrics import RunMetrics
from teola.app_serving.served_app import ServedApp
from teola.background import BackgroundLoop
from teola.runner import default_runner
from teola.serving.admission import Admission
from teola.serving.api_errors import ApiError
from teola.serving.metrics import AnswerMeter
from teola.serving.tenants import tenant_of

T = TypeVar("T")
_STOP_S = 2.0  # for apps to stop when they are told to


class AppService:
    """What is set around the place where it is made, `tl.fake` say, holds in its runs."""

    def __init__(
        self,
        apps: Sequence[AnyApp],
        max_runs: int,
        timeout_s: float | None = None,
        *,
        shows_errors: bool = False,
        keeping: Keeping | None = None,
        tenant_header: str | None = None,
    ) -> None:
        """At most `max_runs` run at once, each for `timeout_s`; `shows_errors` tells clients the
        texts of exceptions that apps raise, which the log has in any case; `keeping` says where
        runs are kept on disk, if they are; `tenant_header` names the tenant of a run. Raises
        ConfigError for two of one name, and for an app that clients cannot call."""
        self.metrics = RunMetrics()
        self.created_s = int(time.time())
        self._is_open = False
        self._shows_errors = shows_errors
        bounded = apps if timeout_s is None else _bounded(apps, timeout_s)
        self.apps = _by_name(bounded, shows_errors)
        self.max_runs = max_runs
        self.tenant_header = tenant_header
        self.kept: KeptRuns | None = None  # once it has started, if its runs are kept
        self._keeping = keeping
        self._admission = Admission(max_runs)
        self._running: dict[str, Run] = {}
        self._ended = EndedRuns()
        self._writing: dict[str, asyncio.Task[None]] = {}  # the ends of runs that are kept, by id
        self._taking_up: asyncio.Task[None] | None = None
        self._loop = _InContext("teola-runs")
        self._until_closed = ExitStack()

    @property
    def names(self) -> Sequence[str]:
        """The apps."""
        return [*self.apps]

    @property
    def is_ready(self) -> bool:
        """Whether runs are taken."""
        return self._is_open and self._loop.is_alive

    def app(self, name: str) -> ServedApp:
        """Raises ApiError."""
        if name in self.apps:
            return self.apps[name]
        message = f"there is no app {name[:100]!r} here; this server has {', '.join(self.apps)}"
        raise ApiError(404, message, code="app_not_found", param="name")

    async def run(
        self,
        app: ServedApp,
        arguments: Mapping[str, Any],
        request: Request,
        *,
        is_heard: bool,
    ) -> Run:
        """Start a run. Raises ApiError when the server is full, or not ready."""
        tenant = tenant_of(request, self.tenant_header)
        with self.admitted() as place:
            kept: Kept | None = None
            if self.kept is not None:
                kept = await self.kept.begin(new_run_id(), app, arguments, tenant)
            return self.started(app, arguments, place, kept, is_heard=is_heard, tenant=tenant)

    @contextmanager
    def admitted(self) -> Iterator[ExitStack]:
        """A place among the runs, free again at the end unless `started` has taken it. Raises
        ApiError when there is none, or the server is not ready."""
        if not self.is_ready:
            raise CLOSING
        with self._place() as place:
            yield place

    def _place(self) -> ExitStack:
        place = ExitStack()
        place.enter_context(self._admission.admitted(1))
        return place

    def started(
        self,
        app: ServedApp,
        arguments: Mapping[str, Any],
        place: ExitStack,
        kept: Kept | None,
        *,
        is_heard: bool = False,
        tenant: str = "",
    ) -> Run:
        """A run that has begun, in that place."""
        run = Run(
            app.app,
            arguments,
            AnswerMeter(self.metrics),
            is_heard=is_heard,
            shows_errors=self._shows_errors,
            kept=kept,
            tenant=tenant,
        )
        taken = place.pop_all()
        self._ended.forget(run.id)
        self._running[run.id] = run
        run.ended.add_done_callback(lambda _: self._end(run))

        def leave(stopped: Run) -> None:
            self.metrics.count_usage(stopped.usage)
            taken.close()
            if self.kept is not None and not stopped.has_begun:
                self.kept.give_up(stopped.id)

        run.start(self._loop, leave)
        return run

    @property
    def running(self) -> Sequence[Run]:
        """In the order of their begin."""
        return [run for run in self._running.values() if not run.ended.done()]

    async def is_running(self, run_id: str) -> bool:
        """Whether it runs here; where it has just ended, once its end is on the disk."""
        run = self._running.get(run_id)
        if run is not None and not run.ended.done():
            return True
        if run_id in self._writing:
            await asyncio.wait((self._writing[run_id],))
        return False

    async def listed(self, query: RunQuery) -> dict[str, Any]:
        """A page of runs; of those that run here, as they are now. Raises ApiError."""
        here = {run.id: run.listed for run in self._running.values()}
        if self.kept is None:
            ended = self._ended.listed if query.wants_ended else ()
            return query.body(filter(query.takes, [*ended, *here.values()]))
        kept = await self.kept.listed(query)
        return query.body(here.get(each.body["id"], each) for each in kept)

    async def find(self, run_id: str) -> Run | bytes:
        """A run, or the body of one that does not run here. Raises ApiError."""
        found = self._running.get(run_id) or self._ended.get(run_id)
        if found is None and self.kept is not None:
            found = await self.kept.body(run_id)
        if found is None:
            raise unknown_run(run_id)
        return found

    async def cancel(self, run_id: str) -> Run | bytes:
        """Stop a run; one that has ended stays as it is. Raises ApiError."""
        found = await self.find(run_id)
        if isinstance(found, Run):
            found.cancel()
        elif self.kept is not None and run_id not in self._ended:
            return await self.kept.cancel(run_id)
        return found

    async def start(self) -> None:
        """Load the runtime, and trace the apps that need no argument for it. Raises what is wrong
        with one."""
        for served in self.apps.values():
            await asyncio.to_thread(served.prepare)
        runner = default_runner()
        self.metrics.registry.register(KVCollector(runner))
        self._until_closed.enter_context(runner.aborted_told_to(self.metrics.count_usage))
        if self._keeping is not None:
            self.kept = KeptRuns(self._keeping)
            await self.kept.open(self.apps)
            self._go_on_with(await unfinished_in(self.kept), resumes=self._keeping.resumes)
        self._is_open = True

    def _go_on_with(self, unfinished: Sequence[RunRow], *, resumes: bool) -> None:
        """Half of the places are theirs before a client asks for one."""
        if not resumes:
            tell_unfinished(unfinished)
            return
        ids = [each.id for each in unfinished if each.app in self.apps]
        places = [self._place() for _ in range(min(len(ids), max(1, self.max_runs // 2)))]
        self._taking_up = asyncio.create_task(take_up(self, ids, places))

    def is_idle(self) -> bool:
        """Whether no run is left, in the background neither."""
        return not self._running

    def end_running(self) -> None:
        """Answer all that runs with an error; nothing new is taken."""
        self._is_open = False
        for run in [*self._running.values()]:
            run.cut_off()

    async def close(self) -> None:
        """Cancel what runs, and wait a moment until it has stopped."""
        running = [*self._running.values()]
        self.end_running()
        stops = [asyncio.ensure_future(run.stopped.wait()) for run in running]
        if stops:
            await asyncio.wait([*stops, *self._writing.values()], timeout=_STOP_S)
        if self._taking_up is not None:
            self._taking_up.cancel()
        self._until_closed.close()
        self._loop.close()

    def _end(self, run: Run) -> None:
        outcome = run.ended.result()
        self.metrics.count_run(run.app.name, outcome.status, run.body["seconds"])
        if self.kept is not None:
            self._writing[run.id] = asyncio.create_task(self._write(run, self.kept))
            return
        del self._running[run.id]
        self._ended.put(run.body, run.listed)

    async def _write(self, run: Run, kept: KeptRuns) -> None:
        """Keep the end of a run; where that cannot be, it is known as long as the server runs."""
        try:
            if run.ended.result().status in ENDED:
                await kept.end(run.id, run.body)
        except ApiError:  # the log says why
            self._ended.put(run.body, run.listed)
        finally:
            del self._writing[run.id]
            del self._running[run.id]


class _InContext(BackgroundLoop):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._context = copy_context()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        return self._context.copy().run(super().submit, coroutine)


def _by_name(apps: Sequence[AnyApp], shows_errors: bool) -> dict[str, ServedApp]:
    by_name: dict[str, ServedApp] = {}
    for app in apps:
        if app.name in by_name:
            raise ConfigError(f"two of the apps to serve are called {app.name!r}; rename one")
        by_name[app.name] = ServedApp(app, shows_errors)
    return by_name


def _bounded(apps: Sequence[AnyApp], timeout_s: float) -> list[AnyApp]:
    """An app's own limit stays where it is shorter."""
    return [app.using(timeout_s=min(timeout_s, app.options.timeout_s or timeout_s)) for app in apps]


def service_of(request: Request) -> AppService:
    return cast(AppService, request.app.state.service)
