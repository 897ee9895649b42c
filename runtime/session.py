"""Runs the segments of one `async def` app.

A segment starts as soon as the values it takes from earlier ones are there. What touches the world
keeps the program's order: a segment that writes waits for all before it, and its effects do not
happen when one of those failed and the app has not seen the failure; one that reads waits for those
that write.
"""

import asyncio
from collections import deque
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from backends.base import Context
from graph_opt.graph import Graph
from graph_opt.ops import has_effects, reads_state
from runtime.errors import NodeFailed, QueryCancelled, QueryError, QueryTimeout, failure_of
from runtime.lanes import Lanes
from runtime.outputs import Outputs
from runtime.pending import Pending, outputs_to

T = TypeVar("T")


class Program(Protocol):
    """What a segment runs."""

    @property
    def graph(self) -> Graph: ...


Start = Callable[[Any, Mapping[str, Any], Outputs], Awaitable[None]]  # program, inputs; to its end
Release = Callable[[Context], "Future[None]"]  # gives a context back, on the engines' loop


# what is issued in the apps with a time limit around the code that runs
_issued: ContextVar[tuple[list["Segment"], ...]] = ContextVar("teola_issued", default=())


@dataclass(slots=True, eq=False)
class Segment:
    """A segment that was issued."""

    reads: bool
    writes: bool
    pending: dict[str, Pending]
    failures: list[Exception] = field(default_factory=list)  # all, once it has ended
    effect_failures: list[Exception] = field(default_factory=list)  # of effects, in program order
    task: "asyncio.Task[None] | None" = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended and nothing in it failed."""
        return self.task is not None and self.task.done() and not self.failures

    @property
    def has_given_all(self) -> bool:
        return all(pending.future.done() for pending in self.pending.values())

    def end(self, failure: Exception | None) -> None:
        """Note what failed, and let go of the values: who holds them keeps their contexts."""
        first = [] if failure is None else [failure]
        if first and not isinstance(failure, NodeFailed):  # of all that is in it
            self.effect_failures[:0] = first
        for name, pending in self.pending.items():
            pending.fail(failure or QueryError(f"%{name} was never given"))
        found = (pending.future.exception() for pending in self.pending.values())
        of_values = [error for error in found if isinstance(error, Exception)]
        self.failures = [*first, *of_values, *self.effect_failures]
        self.pending.clear()

    def abandon(self) -> None:
        """Of one that was cancelled: who awaits a value of it is cancelled too."""
        for pending in self.pending.values():
            pending.cancel()
        self.pending.clear()


class Session:
    """One run of an `async def` app. All methods are called on the app's event loop."""

    def __init__(
        self,
        name: str,
        start: Start,
        release: Release,
        *,
        is_plain: bool,
        stored_as: str | None = None,
    ) -> None:
        self.name = name
        self.stored_as = stored_as  # how commands name the run, if it is kept on disk
        self._seen: list[Exception] = []  # failures that the app was told
        self._start = start
        self._release = release
        self._is_plain = is_plain  # one segment after another
        self._segments: list[Segment] = []
        self._contexts: dict[int, tuple[Context, int]] = {}  # by id, with the number of holders
        self._releasing: deque[Future[None]] = deque()
        self._is_closed = False
        self._lanes = Lanes()

    async def run(
        self, body: Callable[["Session"], Awaitable[T]], timeout_s: float | None = None
    ) -> T:
        """What `body` gives. Effects it issued are waited for, all else is cancelled at its end.

        Raises QueryTimeout after `timeout_s`, and the NodeFailed behind an exception of a tool that
        `body` does not catch.
        """
        try:
            with _as_failures():
                return await self.within(self.name, self._run(body), timeout_s)
        finally:
            await self._close()

    async def within(self, name: str, work: Awaitable[T], timeout_s: float | None) -> T:
        """What the work gives. Raises QueryTimeout after `timeout_s`, and cancels its segments."""
        issued: list[Segment] = []
        token = _issued.set((*_issued.get(), issued))
        deadline = asyncio.timeout(timeout_s)
        try:
            async with deadline:
                return await work
        except TimeoutError:
            if not deadline.expired():
                raise
            error = QueryTimeout(f"app {name}() did not finish within {timeout_s:g} s")
            for segment in issued:
                self._cancel(segment, error)
            raise error from None
        finally:
            _issued.reset(token)

    def issue(
        self,
        program: Program,
        inputs: Mapping[str, Any],
        *,
        final: Collection[str] = (),
        streamed: Collection[str] = (),
    ) -> Mapping[str, Pending]:
        """Start a segment; its values by the names that its graph returns.

        Inputs that are Pending are waited for. Events of the texts `final` say so; the pieces of
        those `streamed` come by `Pending.texts`. Raises QueryCancelled after the end of the app.
        """
        if self._is_closed:
            raise QueryCancelled(f"app {self.name}() has ended; it must await the tasks it starts")
        nodes = program.graph.nodes
        segment = Segment(
            reads=any(map(reads_state, nodes)),
            writes=any(map(has_effects, nodes)),
            pending={name: Pending(self) for name in program.graph.outputs},
        )
        self._forget()
        before = [earlier for earlier in self._segments if self._comes_before(earlier, segment)]
        outputs = outputs_to(segment.pending, segment.effect_failures.append, final, streamed)
        outputs = replace(outputs, place=self._lanes.name())
        seen = list(self._seen)
        running = partial(self._start_after, before, program, dict(inputs), outputs, seen)
        segment.task = asyncio.get_running_loop().create_task(_noted(segment, running))
        self._segments.append(segment)
        for issued in _issued.get():
            issued.append(segment)
        return dict(segment.pending)

    def _forget(self) -> None:
        """Drop what is over: an app may have any number of turns."""
        for segments in (self._segments, *_issued.get()):
            segments[:] = [segment for segment in segments if not segment.is_over]
        while self._releasing and self._releasing[0].done():
            self._releasing.popleft()

    def tell(self, failure: Exception) -> None:
        """The app is told of a failure."""
        self._seen.append(failure)

    def own(self, context: Context) -> None:
        """Count a holder of a context."""
        if self._is_closed:
            self._releasing.append(self._release(context))
            return
        _, holders = self._contexts.get(id(context), (context, 0))
        self._contexts[id(context)] = (context, holders + 1)

    def disown(self, context: Context) -> None:
        """A holder is gone; without any the context is released."""
        _, holders = self._contexts.get(id(context), (context, 0))
        if holders > 1:
            self._contexts[id(context)] = (context, holders - 1)
        elif holders:
            del self._contexts[id(context)]
            self._releasing.append(self._release(context))

    def _comes_before(self, earlier: Segment, segment: Segment) -> bool:
        touches = segment.reads or segment.writes
        return self._is_plain or segment.writes or (touches and earlier.writes)

    def _cancel(self, segment: Segment, error: Exception) -> None:
        assert segment.task is not None, "set when it is issued"
        if not segment.task.done():
            segment.task.cancel()
            segment.end(error)
            self._seen.append(error)

    async def _run(self, body: Callable[["Session"], Awaitable[T]]) -> T:
        try:
            result = await body(self)
        except Exception:
            await self._end()  # effects issued before stand before it in the program
            raise
        await self._end()
        return result

    async def _end(self) -> None:
        """Wait for effects, and for segments that have given all they return; raise the first
        failure of an effect that the app was not told."""
        for segment in list(self._segments):
            assert segment.task is not None, "set when it is issued"
            if segment.writes or segment.has_given_all:
                await asyncio.wait([segment.task])
            for failure in _unseen(segment.effect_failures, self._seen) if segment.writes else ():
                raise failure

    async def _start_after(
        self,
        before: Sequence[Segment],
        program: Program,
        inputs: Mapping[str, Any],
        outputs: Outputs,
        seen: Sequence[Exception],
    ) -> None:
        """Run a program behind other segments; `seen` are the failures that the app knew of when
        it was issued."""
        _issued.set(())  # what it runs may be an app too
        if before:
            await asyncio.wait([earlier.task for earlier in before if earlier.task is not None])
        if any(map(has_effects, program.graph.nodes)):
            failures = (failure for earlier in before for failure in earlier.failures)
            failure = next(_unseen(failures, seen), None)
            if failure is not None and not isinstance(failure, QueryError):  # no value's own
                raise failure
            outputs = replace(outputs, failed_before=failure, seen=seen)
        real = {  # beside `inputs`, which hold their contexts until the program has ended
            name: await value.as_input() if isinstance(value, Pending) else value
            for name, value in inputs.items()
        }
        read = {id(value) for value in real.values()}
        held = [context for context, _ in self._contexts.values() if id(context) not in read]
        await self._start(program, real, replace(outputs, waiting=held))

    async def _close(self) -> None:
        """Cancel what still runs, and who still waits for it, and give back all contexts."""
        tasks = [segment.task for segment in self._segments if segment.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for segment in self._segments:
            segment.abandon()
        self._is_closed = True
        contexts, self._contexts = self._contexts, {}
        self._releasing.extend(self._release(context) for context, _ in contexts.values())
        await asyncio.gather(*map(asyncio.wrap_future, self._releasing), return_exceptions=True)


async def _noted(segment: Segment, running: Callable[[], Awaitable[None]]) -> None:
    try:
        await running()
    except QueryError as failure:
        segment.end(failure.with_traceback(None))  # whose frames would hold what the segment read
    except Exception as failure:
        segment.end(failure)
    else:
        segment.end(None)


def _unseen(failures: Iterable[Exception], seen: Sequence[Exception]) -> Iterator[Exception]:
    return (failure for failure in failures if not any(failure is told for told in seen))


@contextmanager
def _as_failures() -> Iterator[None]:
    """Outside of the app an exception of a tool is a failed node."""
    try:
        yield
    except Exception as error:
        failure = failure_of(error)
        if failure is None or failure is error:
            raise
        raise failure from error
