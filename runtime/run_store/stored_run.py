"""One run while it runs: what an earlier process finished of it, and what this one adds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from backends.registry import EngineSpec
from runtime.clock import date
from runtime.errors import (
    EffectInDoubt,
    NodeFailed,
    ParseError,
    QueryCancelled,
    QueryError,
    QueryTimeout,
    RunDiverged,
    RunStoreFailed,
    TookTooLong,
    failure_of,
)
from runtime.run_store.contents import Contents, digest
from runtime.run_store.engine_numbers import EngineNumbers, Engines
from runtime.run_store.folders import option_of
from runtime.run_store.kinds import Kind
from runtime.run_store.rows import NodeRow, NodeState
from runtime.run_store.writer import Writer

_STOPS = (QueryCancelled, QueryTimeout)

InDoubt = Literal["stop", "retry", "skip"]


@dataclass(frozen=True, slots=True)
class Work:
    """A primitive as the store knows it."""

    kind: Kind
    place: str
    op: str
    name: str
    content: bytes
    key: bytes = field(init=False)  # of a pure one its content, of an effect its place, else both

    def __post_init__(self) -> None:
        content = b"" if self.kind.is_effect else self.content
        place = b"" if self.kind is Kind.PURE else self.place.encode()
        object.__setattr__(self, "key", digest(place, content))

    def row(self, state: NodeState, value: bytes = b"") -> NodeRow:
        when_s = date().timestamp()
        return NodeRow(self.key, self.place, self.op, self.name, self.content, state, value, when_s)


class StoredRun:
    """The rows of one run. Used on the engines' loop while the run runs."""

    def __init__(
        self,
        run_id: str,
        writer: Writer,
        rows: Sequence[NodeRow] = (),
        in_doubt: InDoubt = "stop",
        due_s: float | None = None,
        engines: Engines | None = None,
    ) -> None:
        """`rows` and `engines` are of an earlier process; `due_s` is when the result of a run that
        goes on was wanted, by the wall clock."""
        self.id = run_id
        self.writer = writer
        self.in_doubt = in_doubt
        self.due_s = due_s
        self.contents = Contents()
        self.has_begun = False  # its app runs, and ends it
        self.num_effects = 0  # that are under way
        self.num_restored = 0  # primitives that were answered with what is kept
        self.num_run = 0
        self.broken: Exception | None = None  # why nothing more of it may run, whoever takes it
        self._rows = {row.key: row for row in rows}
        self._like: dict[tuple[str, str, bytes], dict[bytes, None]] = defaultdict(dict)
        ended = {row.place for row in rows if row.state is NodeState.DONE and row.content}
        for row in rows:
            if ended.isdisjoint(_around(row.place)):  # else an app that ended has it for itself
                self._like[row.op, row.name, row.content][row.key] = None
        self._engines = engines or EngineNumbers()
        self.knows_engines = isinstance(self._engines, EngineNumbers)
        self._failures: list[tuple[Exception, bytes]] = []
        self._late: dict[bytes, Work] = {}  # effects that were given up, by their keys
        self._texts: dict[int, list[bytes]] = defaultdict(list)  # by the hash of what was written
        self._when_no_effects: list[Callable[[], None]] = []

    @property
    def named(self) -> str:
        """As commands take it: its id, and the folder where that is not the default one."""
        return f"{self.id}{option_of(self.writer.database.folder)}"

    def take(self, work: Work) -> NodeRow | None:
        """What is kept of this work, which counts for no other from now on.

        That of its place, else that of equal work elsewhere, which tasks that ran in another order
        may have had. Raises RunDiverged where another effect stands at its place.
        """
        row = self._rows.get(work.key)
        if work.kind is Kind.PURE:
            return row
        if row is None or row.content != work.content:
            like = self._like.get((work.op, work.name, work.content)) if work.content else None
            if not like:
                if row is not None:
                    raise self._diverged(work, row)
                return None
            row = self._rows[next(iter(like))]
        del self._rows[row.key]
        self._like[row.op, row.name, row.content].pop(row.key, None)
        return row

    def doubt(self, work: Work, row: NodeRow) -> EffectInDoubt:
        """Why it cannot be told what became of an effect."""
        what = (
            "gave a value that cannot be read again"
            if row.state is NodeState.UNKEPT
            else "had begun when the run ended"
        )
        effect = f"{work.name} at %{work.place} {what}"
        return EffectInDoubt(
            f"run {self.id}: {effect}; look whether it happened, then say `teola resume "
            f"{self.named} --in-doubt retry` to run it again, or `--in-doubt skip` to go on with "
            "None as its value",
            effect,
        )

    def _diverged(self, work: Work, row: NodeRow) -> RunDiverged:
        return RunDiverged(
            f"run {self.id}: at %{work.place} the app asks for {work.name} with other arguments "
            f"than the call of {row.name} that was made there before: what it does must depend on "
            "its arguments and on values of the run alone (a date or a random number comes from a "
            "tool). Start it anew, or undo the change of its code"
        )

    def engine(self, name: str, spec: EngineSpec) -> str:
        """The name, with a number where several engines have it: one app, run on each of them."""
        if spec.kind == "python":
            return name
        return self._engines.name(name, spec, partial(self.writer.put, self.id))

    def put(self, work: Work, state: NodeState, value: bytes = b"") -> None:
        """Keep it soon."""
        self.writer.put(self.id, work.row(state, value))

    def commit(
        self,
        work: Work,
        state: NodeState,
        value: bytes,
        then: Callable[[RunStoreFailed | None], None],
    ) -> None:
        """Keep it, and say on the running loop when it is on the disk."""
        self.put(work, state, value)
        self.writer.commit(then)

    def move(self, row: NodeRow, work: Work, value: bytes) -> None:
        """What was kept elsewhere belongs to this work."""
        self.drop(row.key)
        self.put(work, row.state, value)

    def drop(self, key: bytes) -> None:
        """Nothing is known of it any more."""
        self.writer.put(self.id, key)

    def note_failure(self, error: Exception, work: Work) -> None:
        """What a primitive failed with, kept or told again."""
        self._failures.append((error, work.key))
        if isinstance(error, TookTooLong) and work.kind is Kind.EFFECT:
            self._late[work.key] = work

    def note_text(self, text: str, work: Work) -> None:
        """What a model wrote, kept or told again: where it is not valid, it is written again."""
        self._texts[hash(text)].append(work.key)

    def effect_begins(self) -> None:
        self.num_effects += 1

    def effect_ends(self) -> None:
        self.num_effects -= 1
        if not self.num_effects:
            waiting, self._when_no_effects = self._when_no_effects, []
            for tell in waiting:
                tell()

    def when_no_effects(self, tell: Callable[[], None]) -> None:
        """Once no effect is under way."""
        if self.num_effects:
            self._when_no_effects.append(tell)
        else:
            tell()

    def forget_failure(self, error: BaseException) -> None:
        """The run ended with this error: what raised it is tried again when the run goes on. Where
        the run was stopped, waits or is in doubt, nothing is: its app took what had failed."""
        is_stopped = not isinstance(error, Exception) or isinstance(error, _STOPS)
        if is_stopped or self.broken is not None:
            return
        is_own = failure_of(error) is None and not isinstance(error, QueryError)
        for with_context in (False, True)[: 1 + is_own]:  # what was handled when it was raised
            seen = _chain(error, with_context)
            keys = [key for failure, key in self._failures if any(failure is x for x in seen)]
            invalid = [hash(each.text) for each in seen if isinstance(each, ParseError)]
            keys += [key for number in invalid for key in self._texts.get(number, ())]
            for key in keys:
                if key in self._late:  # it may have happened
                    self.put(self._late[key], NodeState.BEGUN)
                else:
                    self.drop(key)
            if keys:
                return


def _around(place: str) -> Iterator[str]:
    """The places of the apps that a place is inside of, and of what else holds it."""
    while place := place.rpartition(".")[0]:
        yield place


def _chain(error: BaseException | None, with_context: bool) -> list[BaseException]:
    """The error and those behind it."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or any(one is other for other in found):
            continue
        found.append(one)
        behind = failure_of(one)
        has_context = with_context and isinstance(one, Exception)  # of a stop: what was taken
        waiting += [one.__cause__, behind, one.__context__ if has_context else None]
        waiting += [behind.cause] if isinstance(behind, NodeFailed) else []
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
    return found


@dataclass(frozen=True, slots=True)
class RunPart:
    """A place in a run: its queries and the sessions inside them name their work from here."""

    run: StoredRun
    place: str = ""

    def engine(self, name: str, spec: EngineSpec) -> str:
        """What the run calls an engine: its name in the app, behind those of the apps around."""
        around = (each.partition("[")[0] for each in self.place.split("."))  # no turns, no items
        names = [each for each in around if any(map(str.isalpha, each))]
        return self.run.engine(".".join([*names, name]), spec)

    def within(self, place: str) -> RunPart:
        return replace(self, place=f"{self.place}{place}.") if place else self
