"""`tl.runs`, `tl.resume` and `tl.aresume`: the runs of a folder, and going on with one."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Lock
from time import time
from typing import Any

from backends.errors import ConfigError
from backends.policy.named import POLICIES
from frontend_dsl.app import App
from frontend_dsl.program import RunOptions
from runtime.errors import RunNotFound
from runtime.run_store.rows import RunRow, RunSummary
from runtime.run_store.store import Claimed, RunStore
from runtime.run_store.stored_run import InDoubt
from runtime.run_store.values import NotStorable, decode
from teola.app_places import code_of, loaded_app
from teola.runner import default_runner
from teola.stored_runs import has_other_engines


class CodeChanged(UserWarning):
    """A run goes on with an app whose file is not what it was when the run began."""


def runs(folder: str | Path | None = None) -> list[RunSummary]:
    """The runs in a folder, the latest first; None: the default one."""
    return store_in(folder).summaries()


def resume(
    run_id: str,
    *,
    runs: str | Path | None = None,
    app: App[..., Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    engines: Mapping[str, str] | None = None,
    in_doubt: InDoubt = "stop",
    approve: Any = None,
    by: str = "",
) -> Any:
    """Go on with a run that ended without its result, and give that.

    What it finished is not done again: effects never, all else unless its inputs have changed. The
    app is that of the run's file and name unless `app` gives it; `arguments` and `engines` replace
    what is kept. `in_doubt` says what becomes of an effect that had begun and did not end: "stop"
    raises EffectInDoubt, "retry" runs it again, "skip" takes None for its value. `approve` answers
    the oldest question that the run waits for: True, False, or a value where it asks for one; `by`
    says who answers, which is kept.

    Raises RunNotFound, RunInUse, WrongAnswer, RunDiverged, and what the app raises.
    """
    found = _prepared(run_id, runs, app, arguments, engines, in_doubt, approve, by)
    with found.given_back_unless_begun():
        return found.app(*found.args, **found.kwargs)


async def aresume(
    run_id: str,
    *,
    runs: str | Path | None = None,
    app: App[..., Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    engines: Mapping[str, str] | None = None,
    in_doubt: InDoubt = "stop",
    approve: Any = None,
    by: str = "",
) -> Any:
    """`resume`, awaited."""
    given = (run_id, runs, app, arguments, engines, in_doubt, approve, by)
    found = await _aside(partial(_prepared, *given))
    with found.given_back_unless_begun():
        return await found.app.arun(*found.args, **found.kwargs)


def answer(
    store: RunStore, run_id: str, value: Any, question: str | None = None, by: str = ""
) -> str:
    """Answer what a run waits for, without going on; the question."""
    return store.answer(run_id, value, question, when_s=time(), by=by).result()


def store_in(folder: str | Path | None) -> RunStore:
    """The store in a folder; None: in the default one."""
    return default_runner().run_stores.of(True if folder is None else folder)


@dataclass(frozen=True, slots=True)
class Resumed:
    """An app that goes on with a run when it is called with these arguments."""

    app: App[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    give_back: Callable[[], object]

    @contextmanager
    def given_back_unless_begun(self) -> Iterator[None]:
        """The run is as it was before where the app does not come to run: its arguments are wrong,
        say."""
        try:
            yield
        finally:
            if not self.app.options.resumes.has_begun:
                self.give_back()


async def _aside(prepare: Callable[[], Resumed]) -> Resumed:
    """On a thread, which goes on where nobody waits for it any more."""
    made: list[Resumed] = []
    lock, is_left = Lock(), Event()

    def work() -> Resumed:
        found = prepare()
        with lock:
            made.append(found)
            if is_left.is_set():
                found.give_back()
        return found

    try:
        return await asyncio.to_thread(work)
    except asyncio.CancelledError:
        with lock:
            is_left.set()
            for found in made:
                found.give_back()
        raise


def _prepared(
    run_id: str,
    runs: str | Path | None,
    app: App[..., Any] | None,
    arguments: Mapping[str, Any] | None,
    engines: Mapping[str, str] | None,
    in_doubt: InDoubt,
    approve: Any,
    by: str,
) -> Resumed:
    store = store_in(runs)
    if by and approve is None:
        raise ConfigError("by= says who answers: give the answer too, as approve=")
    if approve is not None:
        answer(store, run_id, approve, by=by)
    return prepared(store, run_id, app, arguments, engines or {}, in_doubt)


def prepared(
    store: RunStore,
    run_id: str,
    app: App[..., Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    engines: Mapping[str, str] = {},
    in_doubt: InDoubt = "stop",
    is_alone: bool = False,
) -> Resumed:
    """The app of a run that this process has claimed; one that `is_alone` in the process, which has
    one policy, goes on under its own."""
    if in_doubt not in ("stop", "retry", "skip"):
        raise ConfigError(f'in_doubt is "stop", "retry" or "skip", not {in_doubt!r}')
    summary = store.summary(run_id)
    found = app or _app_at(summary.run.target, run_id)
    args, kwargs = _by_name(found, *_arguments(summary, arguments))
    has_changed = bool(summary.run.code) and summary.run.code != code_of(found)
    if has_changed:
        warnings.warn(
            f"the code of {summary.run.app}() changed since run {run_id} began: what it asks for "
            "with the same arguments as before is not done again, all else is",
            CodeChanged,
            stacklevel=4,
        )
    urls = {**found.options.engines, **_engines(summary, engines), **engines}
    others = has_changed or has_other_engines(summary.run, urls)
    claimed: Claimed = store.claim(run_id, in_doubt, has_other_engines=others).result()
    options = {
        **_as_asked(claimed.row, found.options, is_alone=is_alone),
        "resumes": claimed.run,
        "runs": str(store.folder),
        "engines": urls,
    }
    give_back = partial(store.give_back, claimed)
    try:
        return Resumed(found.with_options(**options), args, kwargs, give_back)
    except BaseException:
        give_back()
        raise


def _as_asked(row: RunRow, own: RunOptions, *, is_alone: bool) -> dict[str, Any]:
    """What a run said of its order, in place of the app's own; its deadline the run has itself."""
    policy = row.policy if is_alone and row.policy in POLICIES else own.policy
    kept = {"tenant": row.tenant or own.tenant, "objective": row.objective or own.objective}
    return {**kept, "policy": policy}


def _app_at(target: str, run_id: str) -> App[..., Any]:
    if not target:
        raise RunNotFound(
            f"nothing says where the app of run {run_id} is: give it, as in "
            f'tl.resume("{run_id}", app=...)'
        )
    from teola.cli.target import load_app

    return loaded_app(target) or load_app(target)


def _arguments(
    summary: RunSummary, given: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    if given is not None:
        return (), given
    run = summary.run
    try:
        args, kwargs = decode(run.arguments)
    except (NotStorable, ValueError) as error:
        why = f": {error}" if run.arguments else ", since they are no plain values"
        raise RunNotFound(
            f"the arguments of run {run.id} are not kept{why}: give them, as in "
            f'tl.resume("{run.id}", arguments={{...}})'
        ) from error
    return tuple(args), kwargs


def _by_name(
    app: App[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    names = [parameter.name for parameter in app.parameters[: len(args)]]
    return args[len(names) :], {**dict(zip(names, args, strict=False)), **kwargs}


def _engines(summary: RunSummary, given: Mapping[str, str]) -> dict[str, str]:
    kept: dict[str, str] = json.loads(summary.run.engines)
    for name, url in kept.items():
        if "***" in url and name not in given:
            raise ConfigError(
                f"engine {name!r} of run {summary.run.id} had a key in its URL, which is not kept: "
                f'give it again, as in --engine {name}=URL or tl.resume(..., engines={{"{name}": '
                "URL})"
            )
    return {name: url for name, url in kept.items() if name not in given}
