"""Runs of a service that are kept on disk (`teola serve --runs`): a crash of the server, and days
until somebody answers a question, end none of them."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from frontend_dsl.agents.approval import Nobody
from runtime.clock import date
from runtime.errors import RunInUse, RunNotFound, RunStoreFailed, WrongAnswer
from runtime.run_store.questions import Question
from runtime.run_store.rows import RunRow
from runtime.run_store.served import ServedRun, ServedRuns
from runtime.run_store.served_pages import ServedListed, ServedPages
from runtime.run_store.stored_run import InDoubt, StoredRun
from runtime.run_store.values import NotStorable, decode, encode
from teola.app_places import code_of, target_of
from teola.app_serving.app_schema import AnyApp
from teola.app_serving.kept_body import body_of, progress_of
from teola.app_serving.kept_run import Kept
from teola.app_serving.retention import Retention
from teola.app_serving.run_errors import CANCELLED, NOT_KEPT, in_state, unknown_run
from teola.app_serving.run_list import ListedRun, RunQuery, listed
from teola.app_serving.served_app import ServedApp
from teola.runner import default_runner
from teola.serving.api_errors import invalid
from teola.stored_runs import engines_text, has_other_engines, order_of, taken

T = TypeVar("T")
_log = logging.getLogger("teola.apps")


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where a server keeps its runs; `resumes`: those that an earlier one did not finish go on."""

    folder: Path
    retention: Retention
    resumes: bool = False


class KeptRuns:
    """Of one server. All methods are for its loop; the disk is another thread's."""

    def __init__(self, keeping: Keeping) -> None:
        self._store = default_runner().run_stores.of(keeping.folder)
        self._served = ServedRuns(self._store)
        self._pages = ServedPages(self._store)
        self._retention = keeping.retention
        self._code: dict[str, str] = {}  # by app: of its file, as it was loaded

    async def open(self, apps: Mapping[str, ServedApp]) -> None:
        """Raises RunStoreFailed for a folder that cannot be written."""
        self._code = {name: code_of(served.app) for name, served in apps.items()}
        await asyncio.wrap_future(self._store.check())
        await self._prune()

    async def begin(
        self, run_id: str, served: ServedApp, arguments: Mapping[str, Any], tenant: str = ""
    ) -> Kept:
        """Write a new run down, for that tenant. Raises ApiError where that cannot be."""
        app, began_s = served.app, date().timestamp()
        row = RunRow(
            id=run_id,
            app=app.name,
            target=target_of(app),
            arguments=b"" if served.takes_secrets else encode([[], dict(arguments)]),
            engines=engines_text(app.options.engines),
            code=self._code.get(app.name, ""),
            began_s=began_s,
            tenant=tenant or app.options.tenant or "",
            **order_of(app.options, began_s),
        )
        beginning = self._store.begin(row, is_served=True)
        run = await _on_disk(beginning, lambda run: self._store.drop(run.id))
        return self._kept(row, self._going_on(app, run), arguments)

    async def claim(
        self, found: ServedRun, served: ServedApp, arguments: Mapping[str, Any], in_doubt: InDoubt
    ) -> Kept:
        """Go on with a run. Raises ApiError where another process does."""
        code = self._code.get(served.name, "")
        has_changed = bool(found.row.code) and found.row.code != code
        if has_changed:
            _log.warning("the code of %s changed since run %s began", served.name, found.row.id)
        others = has_changed or has_other_engines(found.row, served.app.options.engines)
        claiming = self._store.claim(found.row.id, in_doubt, has_other_engines=others)
        claimed = await _on_disk(claiming, self._store.give_back)
        try:
            await _on_disk(self._served.answer(found.row.id, b""))
        except BaseException:
            self._store.give_back(claimed)
            raise
        objective = found.row.objective or served.app.options.objective
        app = self._going_on(served.app.using(objective=objective), claimed.run)
        return replace(self._kept(found.row, app, arguments), answers=claimed.answers)

    def _kept(self, row: RunRow, app: AnyApp, arguments: Mapping[str, Any]) -> Kept:
        questions = partial(self._questions, row.id)
        return Kept(row.id, app, arguments, row.began_s, row.due_s, questions)

    async def _questions(self, run_id: str) -> Sequence[Question]:
        try:
            found = await asyncio.wrap_future(self._served.find(run_id))
        except RunStoreFailed as error:  # it waits in any case
            _log.error("%s", error)
            return ()
        return found.questions if found else ()

    def _going_on(self, app: AnyApp, run: StoredRun) -> AnyApp:
        approve = app.options.approve or Nobody(run.id)
        return app.with_options(resumes=run, runs=str(self._store.folder), approve=approve)

    async def find(self, run_id: str) -> ServedRun | None:
        """None where no service has begun it."""
        return await _on_disk(self._served.find(run_id))

    async def body(self, run_id: str) -> bytes | None:
        """What a client sees of a run which does not run here."""
        found = await self.find(run_id)
        return None if found is None else (found.answer or json.dumps(body_of(found)).encode())

    async def listed(self, query: RunQuery) -> Sequence[ListedRun]:
        """A page, with one run more where there is one."""
        found = await _on_disk(self._pages.read(query.page, query.state))
        return [*map(_in_list, found)]

    async def unfinished(self) -> Sequence[RunRow]:
        """All that nobody works on and that wait for nobody, the oldest first, without their
        arguments."""
        return await _on_disk(self._served.unfinished())

    async def end(self, run_id: str, body: Mapping[str, Any]) -> None:
        """Keep what the clients of a run are answered. Raises ApiError."""
        small = listed(0.0, body, {}).body
        answer, status = json.dumps(body).encode(), str(body["status"])
        await _on_disk(self._served.answer(run_id, answer, status, json.dumps(small).encode()))
        if self._retention.is_due():
            await self._prune()

    def give_up(self, run_id: str) -> None:
        """A run ended before its app began."""
        self._store.end(run_id, "interrupted", date().timestamp(), "it did not begin")

    async def cancel(self, run_id: str) -> bytes:
        """End a run that does not run here; what its clients see of it then. Raises ApiError where
        it runs elsewhere."""
        found = await self.find(run_id)
        if found is None:
            raise unknown_run(run_id)
        if found.answer:
            return found.answer
        await _on_disk(self._store.claim(run_id))
        await _on_disk(self._store.end(run_id, "interrupted", date().timestamp(), "cancelled"))
        body = {**body_of(found), "status": "cancelled", "error": CANCELLED.body["error"]}
        body["waits_for"] = []
        await self.end(run_id, body)
        return json.dumps(body).encode()

    async def answer(self, run_id: str, value: Any, question: str | None, by: str) -> str:
        """Answer what a run waits for. Raises ApiError where it waits for nothing."""
        now_s = date().timestamp()
        return await _on_disk(self._store.answer(run_id, value, question, when_s=now_s, by=by))

    async def _prune(self) -> None:
        before_s = self._retention.before_s(date().timestamp())
        pruned = await _on_disk(self._served.prune(self._retention.most_runs, before_s))
        if pruned:
            _log.info("forgot %d runs of %s", pruned, self._store.folder)


def arguments_of(found: ServedRun) -> Mapping[str, Any]:
    """What a run was called with. Raises ApiError where that is not kept."""
    try:
        _, arguments = decode(found.row.arguments)
    except (NotStorable, ValueError):
        why = f"the arguments of run {found.row.id} are not kept: give them, as `arguments`"
        raise in_state(why, "arguments_not_kept") from None
    return dict(arguments)


def _in_list(found: ServedListed) -> ListedRun:
    body = json.loads(found.end) if found.end else body_of(found.run)
    return listed(found.run.row.began_s, body, progress_of(found.run))


async def _on_disk(work: Future[T], give_back: Callable[[T], object] | None = None) -> T:
    """`give_back`: what becomes of it where nobody waits for it any more."""
    try:
        return await (asyncio.wrap_future(work) if give_back is None else taken(work, give_back))
    except RunInUse as error:
        raise in_state(str(error), "run_in_use") from error
    except RunNotFound as error:
        raise in_state("the run waits for no such answer", "not_waiting") from error
    except WrongAnswer as error:
        raise invalid("value", str(error)) from error
    except RunStoreFailed as error:
        _log.error("%s", error)
        raise NOT_KEPT from error
