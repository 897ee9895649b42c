"""Runs that are kept on disk: what begins and ends them around an app, and their folders."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from backends.errors import ConfigError
from backends.loop_clock import is_virtual
from backends.text_secrets import without_secrets
from backends.url_secrets import without_url_secrets
from frontend_dsl.agents.errors import ApprovalPending
from frontend_dsl.program import Called, CallInputs, RunOptions
from runtime.clock import date
from runtime.errors import NodeFailed, RunStoreFailed
from teola.app_places import code_of, target_of

if TYPE_CHECKING:
    from runtime.run_store.rows import RunRow, RunState
    from runtime.run_store.store import RunStore
    from runtime.run_store.stored_run import StoredRun


T = TypeVar("T")

_LOOK_S = 0.01  # between looks whether runs have ended


class EndNotKept(UserWarning):
    """A run ended, and its folder could not be written: resumed, it comes to its end again. Effects
    that finished are kept, else the run would have failed."""


class RunStores:
    """The folders of runs that a runner uses. Any thread may call."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[Path, RunStore] = {}

    def of(self, runs: bool | str | Path) -> RunStore:
        """The store in a folder; True: in the default one."""
        from runtime.run_store.folders import default_folder
        from runtime.run_store.store import RunStore  # late: sqlite

        chosen = default_folder() if isinstance(runs, bool) else Path(runs).expanduser()
        folder = chosen.absolute()
        with self._lock:
            if folder not in self._open:
                self._open[folder] = RunStore(folder)
            return self._open[folder]

    async def until_ended(self, timeout_s: float) -> None:
        """Until no run of this process is left, or the time is over: one that was cancelled is
        still being written down."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(store.has_running for store in [*self._open.values()]):
                    await asyncio.sleep(_LOOK_S)

    def close(self) -> None:
        with self._lock:
            for store in self._open.values():
                store.close()
            self._open.clear()

    @asynccontextmanager
    async def kept(
        self, options: RunOptions, inputs: Mapping[str, Any]
    ) -> AsyncIterator[RunOptions]:
        """The options for a run, which is kept if they say so and it is no part of another."""
        if options.stored is not None or (not options.runs and options.resumes is None):
            yield options
            return
        if is_virtual(asyncio.get_running_loop()):
            raise ConfigError("a run on a virtual clock is not kept: leave out runs=")
        from runtime.run_store.stored_run import RunPart

        store = self.of(options.runs)
        run: StoredRun | None = options.resumes
        if run is None:
            row = _row_of(inputs, options)
            run = await taken(store.begin(row), partial(_interrupted, store))
        run.has_begun = True
        try:
            yield replace(options, stored=RunPart(run), resumes=None)
        except BaseException as error:
            run.forget_failure(error)
            why = run.broken if run.broken is not None and isinstance(error, Exception) else error
            await _ended(store, run, _state_after(why), run.broken or error)
            if why is not error and not is_pending(error):
                raise why from error
            raise
        if run.broken is not None:  # and the app took it for a failure of a primitive
            await _ended(store, run, _state_after(run.broken), run.broken)
            raise run.broken
        await _ended(store, run, "finished")


async def taken(taking: Future[T], give_back: Callable[[T], object]) -> T:
    """A run that is being written down, or claimed. Where nobody waits for it any more, it is given
    back as soon as it is taken."""

    def done(future: Future[T]) -> None:
        if not future.cancelled() and future.exception() is None:
            give_back(future.result())

    try:
        return await asyncio.wrap_future(taking)
    except asyncio.CancelledError:
        taking.add_done_callback(done)
        raise


def _interrupted(store: RunStore, run: StoredRun) -> None:
    store.end(run.id, "interrupted", time(), "CancelledError: ")


async def _ended(
    store: RunStore, run: StoredRun, state: RunState, error: BaseException | None = None
) -> None:
    from runtime.run_store.object_state import said_by

    said = "" if error is None else without_secrets(said_by(error))
    ending = store.end(run.id, state, date().timestamp(), said)
    try:
        await asyncio.shield(asyncio.wrap_future(ending))
    except RunStoreFailed as failure:  # what the app gave, or raised, is worth more
        if isinstance(error, RunStoreFailed):
            return
        what = f"run {run.id} ended ({state}), which could not be written: {failure}"
        warnings.warn(what, EndNotKept, stacklevel=2)


def is_pending(error: BaseException) -> bool:
    """Whether a run ended with it because a person has to answer."""
    while isinstance(error, NodeFailed):  # of an agent inside
        error = error.cause
    return isinstance(error, ApprovalPending)


def _state_after(error: BaseException) -> RunState:
    if is_pending(error):
        return "waiting"
    return "failed" if isinstance(error, Exception) else "interrupted"


def _row_of(inputs: Mapping[str, Any], options: RunOptions) -> RunRow:
    from runtime.run_store.rows import RunRow

    began_s = date().timestamp()
    called = inputs.called if isinstance(inputs, CallInputs) else Called(None, (), {})
    return RunRow(
        id=uuid4().hex[:12],
        app=getattr(called.app, "name", ""),
        target=target_of(called.app),
        arguments=_arguments_of(called),
        engines=engines_text(options.engines),
        code=code_of(called.app),
        began_s=began_s,
        tenant=options.tenant or "",
        **order_of(options, began_s),
    )


def engines_text(urls: Mapping[str, str]) -> str:
    """The engines that a caller replaced, as they are kept."""
    return json.dumps({name: without_url_secrets(url) for name, url in urls.items()})


def has_other_engines(row: RunRow, urls: Mapping[str, str]) -> bool:
    """Whether a run goes on with other engines than it was called with."""
    return bool(json.loads(row.engines) != json.loads(engines_text(urls)))


def order_of(options: RunOptions, began_s: float) -> dict[str, Any]:
    """The fields of a run's row that say how engines order it."""
    from backends.policy.named import POLICIES
    from runtime.run_store.rows import due_at

    named = (name for name, each in POLICIES.items() if options.policy in (name, each))
    due_s = due_at(began_s, options.deadline_s)
    return {"objective": options.objective, "due_s": due_s, "policy": next(named, "")}


def _arguments_of(called: Called) -> bytes:
    from runtime.run_store.values import NotStorable, encode

    try:
        return encode([called.args, dict(called.kwargs)])
    except NotStorable:
        return b""  # they are given again when it is resumed
