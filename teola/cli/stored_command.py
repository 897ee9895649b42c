"""`teola runs | resume | approve`."""

import argparse
import getpass
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast, get_args

from rich import box
from rich.filesize import decimal
from rich.table import Table

from runtime.run_store.pages import Page
from runtime.run_store.questions import GivenAnswer
from runtime.run_store.rows import NodeRow, RunState, RunSummary
from runtime.run_store.store import RunStore
from runtime.run_store.stored_run import InDoubt, StoredRun
from teola.cli.app_arguments import Invocation
from teola.cli.consoles import stdout_console
from teola.cli.failures import UsageError, reported
from teola.cli.results import json_text
from teola.cli.run_command import named_engine, run_and_print
from teola.resuming import CodeChanged, answer, prepared, store_in
from teola.viewer.formats import count

_SHOWN = 60  # characters of what a run waits for, or ended with


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which runs a list has."""

    state: str | None = None
    app: str | None = None
    limit: int | None = None
    after: str | None = None

    def check(self) -> None:
        """Raises UsageError."""
        if self.state is not None and self.state not in get_args(RunState):
            raise UsageError(f"--state is {', '.join(get_args(RunState))}; got {self.state!r}")

    def runs_of(self, store: RunStore) -> list[RunSummary]:
        """Raises RunNotFound for a run that is not there to list those behind it."""
        after = None if self.after is None else store.cursor(store.named(self.after))
        page = Page(self.limit or sys.maxsize, after, self.app)
        return store.page(page, cast("RunState | None", self.state))


def list_runs(
    run_id: str | None,
    folder: Path | None,
    delete: bool,
    prune_days: float | None,
    chosen: Chosen,
    as_json: bool,
    debug: bool,
) -> None:
    with reported(debug):
        store = store_in(folder)
        chosen.check()
        is_list = run_id is None and not delete and prune_days is None
        if chosen != Chosen() and not is_list:
            raise UsageError("--state, --app, --limit and --after are for lists alone")
        if run_id is not None:
            run_id = store.named(run_id)
        if delete:
            _delete(store, run_id)
        elif prune_days is not None:
            _prune(store, prune_days)
        elif run_id is not None:
            _show(store, run_id, as_json)
        else:
            _list(store, chosen, as_json)


def resume_run(
    run_id: str,
    folder: Path | None,
    in_doubt: str,
    engines: Sequence[str],
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    with reported(debug):
        if in_doubt not in get_args(InDoubt):
            raise UsageError(f"--in-doubt is {', '.join(get_args(InDoubt))}; got {in_doubt!r}")
        urls = dict(map(named_engine, engines))
        store = store_in(folder)
        _go_on(store, store.named(run_id), urls, cast("InDoubt", in_doubt), as_json, quiet)


def approve_run(
    run_id: str,
    no: bool,
    value: str | None,
    question: str | None,
    by: str | None,
    later: bool,
    folder: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    with reported(debug):
        store = store_in(folder)
        given, run_id = _given(no, value), store.named(run_id)
        asked = answer(store, run_id, given, question, _user() if by is None else by)
        said = value if value is not None else "no" if no else "yes"
        print(f"{said}: {asked}", file=sys.stderr)
        if not later:
            _go_on(store, run_id, {}, "stop", as_json, quiet)


def _user() -> str:
    """The name of who sits at the terminal; empty where the machine knows none."""
    with suppress(KeyError, OSError, ImportError):
        return getpass.getuser()
    return ""


def _given(no: bool, value: str | None) -> Any:
    if value is None:
        return not no
    if no:
        raise UsageError("--no and --value exclude each other")
    try:
        return json.loads(value)
    except ValueError as error:
        what = f"--value takes JSON, a text as '\"so\"'; {value!r} is none: {error}"
        raise UsageError(what) from None


def _go_on(
    store: RunStore,
    run_id: str,
    engines: Mapping[str, str],
    in_doubt: InDoubt,
    as_json: bool,
    quiet: bool,
) -> None:
    with redirect_stdout(sys.stderr), _warnings_as_lines():  # what a module prints is no data
        found = prepared(store, run_id, engines=engines, in_doubt=in_doubt, is_alone=True)
    options = argparse.Namespace(
        json=as_json, quiet=quiet, summary=True, virtual=False, no_color=False
    )
    try:
        with found.given_back_unless_begun():
            run_and_print(Invocation(found.app, found.kwargs, options))
    finally:
        if not quiet:
            run: StoredRun = found.app.options.resumes
            restored = f"{count(run.num_restored, 'primitive')} restored, {run.num_run} run"
            print(f"run {run_id}: {restored}", file=sys.stderr)


@contextmanager
def _warnings_as_lines() -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CodeChanged)
        yield
    for warning in caught:
        if issubclass(warning.category, CodeChanged):
            print(f"warning: {warning.message}", file=sys.stderr)


def _delete(store: RunStore, run_id: str | None) -> None:
    if run_id is None:
        raise UsageError("--delete needs the ID of a run")
    store.delete([run_id])
    print(f"forgot run {run_id}")


def _prune(store: RunStore, days: float) -> None:
    before_s = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    old = [
        each.run.id
        for each in store.summaries()
        if each.state == "finished" and (each.run.ended_s or 0.0) <= before_s
    ]
    if old:
        store.delete(old)
    print(f"forgot {count(len(old), 'run')} of {store.folder}")


def _list(store: RunStore, chosen: Chosen, as_json: bool) -> None:
    found = chosen.runs_of(store)
    if as_json:
        print(json_text([_plain(each) for each in found], indent=2))
    elif not found:
        print(f"{store.folder} keeps no {'runs' if chosen == Chosen() else 'such runs'}")
    else:
        stdout_console().print(_table(found))


def _table(found: Sequence[RunSummary]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("run", "app", "state", "began", "done", "size", ""):
        table.add_column(name, justify="right" if name in ("done", "size") else "left")
    for each in found:
        run, about = each.run, (each.question or each.run.error)[:_SHOWN]
        size = decimal(each.num_bytes)
        began = _date(run.began_s)
        table.add_row(run.id, run.app, each.state, began, str(each.num_done), size, about)
    return table


def _show(store: RunStore, run_id: str, as_json: bool) -> None:
    found, nodes = store.summary(run_id), store.nodes(run_id)
    asked = [asdict(each) for each in store.questions(run_id)] if found.state == "waiting" else []
    given = store.answers(run_id)
    if as_json:
        shown = {
            **_plain(found),
            "questions": asked,
            "answered": [*map(_plain_answer, given)],
            "nodes": [*map(_plain_node, nodes)],
        }
        print(json_text(shown, indent=2))
        return
    for name, value in _plain(found).items():
        if value not in ("", None, {}):
            print(f"{name:9} {value}")
    for each in asked:
        wanted = each["answer"].get("type", "value")
        print(f"question {each['id']} ({wanted}): {each['question']}")
    for answered in given:
        by = f" by {answered.by}" if answered.by else ""
        said = json_text(answered.value)[:_SHOWN]
        print(f"answered {_date(answered.when_s)}{by}: {answered.question}: {said}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("when", "state", "what", "where"):
        table.add_column(name)
    for node in nodes:
        table.add_row(_date(node.when_s), node.state.name.lower(), node.name, f"%{node.place}")
    stdout_console().print(table)


def _plain(found: RunSummary) -> dict[str, Any]:
    run = asdict(found.run)
    shown = {name: run[name] for name in ("id", "app", "target")}
    return {
        **shown,
        "state": found.state,
        "began": _date(found.run.began_s),
        "ended": None if found.run.ended_s is None else _date(found.run.ended_s),
        "objective": found.run.objective,
        "due": None if found.run.due_s is None else _date(found.run.due_s),
        "policy": found.run.policy,
        "done": found.num_done,
        "bytes": found.num_bytes,
        "waits": found.question,
        "error": found.run.error,
    }


def _plain_node(node: NodeRow) -> dict[str, Any]:
    when, state = _date(node.when_s), node.state.name.lower()
    return {"when": when, "state": state, "op": node.op, "name": node.name, "place": node.place}


def _plain_answer(given: GivenAnswer) -> dict[str, Any]:
    shown = {"id": given.id, "question": given.question, "value": given.value}
    return {**shown, "by": given.by or None, "when": _date(given.when_s)}


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
