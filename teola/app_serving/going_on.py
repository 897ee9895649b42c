"""Runs on the disk that go on: when somebody answers or asks for it, or when the server starts."""

import asyncio
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from runtime.run_store.rows import RunRow
from runtime.run_store.served import ServedRun
from runtime.run_store.stored_run import InDoubt
from teola.app_serving.kept_body import open_status
from teola.app_serving.kept_run import Kept
from teola.app_serving.kept_runs import KeptRuns, arguments_of
from teola.app_serving.run import Run
from teola.app_serving.run_errors import in_state, unknown_run
from teola.app_serving.served_app import ServedApp
from teola.serving.api_errors import ApiError

_log = logging.getLogger("teola.apps")


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody says to a question of a run; None: to the only one."""

    value: Any
    question: str | None = None
    by: str = ""  # who says so


class Runs(Protocol):
    """Those of a server."""

    kept: KeptRuns | None

    @property
    def is_ready(self) -> bool: ...

    def app(self, name: str) -> ServedApp: ...

    async def is_running(self, run_id: str) -> bool: ...

    async def find(self, run_id: str) -> Run | bytes: ...

    def admitted(self) -> AbstractContextManager[ExitStack]: ...

    def started(
        self,
        app: ServedApp,
        arguments: Mapping[str, Any],
        place: ExitStack,
        kept: Kept | None,
        *,
        tenant: str = "",
    ) -> Run: ...


async def approve(
    service: Runs, run_id: str, answer: Answer, given: Mapping[str, Any] | None = None
) -> Run:
    """Answer what a run waits for, and go on with it; `given` as for `resume`. Raises ApiError
    where it waits for no such answer, or the server is full."""
    found = await _stopped(service, run_id)
    _check_waits(found, answer.question)
    return await _go_on(service, found, given=given, answer=answer)


async def resume(
    service: Runs, run_id: str, in_doubt: InDoubt, given: Mapping[str, Any] | None
) -> Run:
    """Go on with a run that ended without its result; `given` are its arguments where they are not
    kept. Raises ApiError where it runs, waits or has its result, or the server is full."""
    found = await _stopped(service, run_id)
    if _has_result(found):
        raise in_state(f"run {run_id} has completed", "run_completed")
    if not found.answer and open_status(found) == "waiting":
        raise in_state(f"run {run_id} waits for a person: approve it", "approval_pending")
    return await _go_on(service, found, in_doubt, given)


async def take_up(service: Runs, run_ids: Iterable[str], places: Sequence[ExitStack]) -> None:
    """Go on with runs that an earlier process did not finish, one in each place at a time; a place
    is free as soon as no run is left for it."""
    left = iter(run_ids)
    async with asyncio.TaskGroup() as tasks:
        for place in places:
            tasks.create_task(_one_by_one(service, left, place))


async def _one_by_one(service: Runs, left: Iterator[str], place: ExitStack) -> None:
    with place:
        for run_id in left:
            if not service.is_ready:
                return
            try:
                await _taken_up(service, run_id)
            except ApiError as error:
                _log.warning("run %s does not go on: %s", run_id, error.message)


async def _taken_up(service: Runs, run_id: str) -> None:
    """One to its end, unless somebody resumed or cancelled it while it waited for its turn."""
    assert service.kept is not None, "its runs are kept"
    found = await service.kept.find(run_id)
    if found is None or found.answer or open_status(found) != "interrupted":
        return
    run = await _begun(service, found, ExitStack(), arguments_of(found))
    await run.stopped.wait()


def tell_unfinished(unfinished: Sequence[RunRow]) -> None:
    """Which runs wait for somebody to resume them, in the log."""
    ids = [each.id for each in unfinished]
    if ids:
        shown = ", ".join(ids[:3]) + (" ..." if ids[3:] else "")
        _log.warning(
            "%d runs did not come to their end (%s): start with --resume, or POST to "
            "/v1/runs/{id}/resume",
            len(ids),
            shown,
        )


async def unfinished_in(kept: KeptRuns) -> Sequence[RunRow]:
    """The runs that earlier processes did not finish; none where the disk fails."""
    try:
        return await kept.unfinished()
    except ApiError:  # the log says why
        return ()


async def _stopped(service: Runs, run_id: str) -> ServedRun:
    """A run on the disk that does not run here."""
    if await service.is_running(run_id):
        raise in_state(f"run {run_id} is running", "run_in_use")
    if service.kept is None:
        raise in_state("this server keeps no runs: start it with --runs FOLDER", "not_kept")
    found = await service.kept.find(run_id)
    if found is None:
        raise unknown_run(run_id)
    if found.state == "running":
        raise in_state(f"run {run_id} is running", "run_in_use")
    return found


def _check_waits(found: ServedRun, question: str | None) -> None:
    asked: Sequence[str] = [] if found.answer else [each.id for each in found.questions]
    if found.state != "waiting" or not asked:
        raise in_state(f"run {found.row.id} waits for no answer", "not_waiting")
    if question is None and len(asked) > 1:
        what = f"run {found.row.id} waits for {len(asked)} answers: name the `question` by its id"
        raise in_state(what, "several_questions")
    if question is not None and question not in asked:
        what = f"run {found.row.id} does not wait for an answer to question {question[:100]!r}"
        raise in_state(what, "not_waiting")


async def _go_on(
    service: Runs,
    found: ServedRun,
    in_doubt: InDoubt = "stop",
    given: Mapping[str, Any] | None = None,
    answer: Answer | None = None,
) -> Run:
    service.app(found.row.app)
    arguments = arguments_of(found) if given is None else given
    with service.admitted() as place:
        return await _begun(service, found, place, arguments, in_doubt, answer)


async def _begun(
    service: Runs,
    found: ServedRun,
    place: ExitStack,
    arguments: Mapping[str, Any],
    in_doubt: InDoubt = "stop",
    answer: Answer | None = None,
) -> Run:
    assert service.kept is not None, "it was found there"
    app = service.app(found.row.app)
    app.check(arguments)
    if answer is not None:
        await service.kept.answer(found.row.id, answer.value, answer.question, answer.by)
    try:
        kept = await service.kept.claim(found, app, arguments, in_doubt)
    except ApiError:
        running = await service.find(found.row.id)
        if answer is None or not isinstance(running, Run):
            raise
        return running  # with an answer of somebody else, and this one
    return service.started(app, arguments, place, kept, tenant=found.row.tenant)


def _has_result(found: ServedRun) -> bool:
    return bool(found.answer) and json.loads(found.answer)["status"] == "completed"
