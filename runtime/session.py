"""Runs the segments of one `async def` app.

A segment starts as soon as the values it takes from earlier ones are there. What touches the world
keeps the program's order: a segment that writes waits for all before it, and does not run when one
of those failed and the app has not seen the failure; one that reads waits for those that write.
"""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from backends.base import Context
from graph_opt.graph import Graph
from graph_opt.ops import has_effects, reads_state
from runtime.errors import FailedInput, QueryError, QueryTimeout, failure_of, own_error
from runtime.outputs import Outputs

T = TypeVar("T")


class Program(Protocol):
    """What a segment runs."""

    @property
    def graph(self) -> Graph: ...


Start = Callable[[Any, Mapping[str, Any], Outputs], Awaitable[None]]  # program, inputs; to its end
Release = Callable[[Context], "Future[None]"]  # gives a context back, on the engines' loop


# what is issued in the apps with a time limit around the code that runs
_issued: ContextVar[tuple[list["Segment"], ...]] = ContextVar("teola_issued", default=())


class Pending:
    """A value that a segment gives. A context is released when nobody holds its Pending."""

    def __init__(self, session: "Session") -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._session = session
        self._texts: asyncio.Queue[str | None] = asyncio.Queue()
        self._context: Context | None = None

    @property
    def is_there(self) -> bool:
        """Whether the value is known."""
        return self.future.done() and not self.future.cancelled() and not self.future.exception()

    @property
    def real(self) -> Any:
        """The value, which must be there."""
        return self.future.result()

    async def get(self) -> Any:
        """The value. Raises what failed: a tool's own exception, or a teola error."""
        try:
            return await asyncio.shield(self.future)
        except Exception as failure:
            self._session.seen.append(failure)
            error = own_error(failure)
        raise error

    async def as_input(self) -> Any:
        """The value for a later segment, where only what reads it fails with it."""
        try:
            return await asyncio.shield(self.future)
        except Exception as failure:
            return FailedInput.of(failure)

    async def texts(self) -> AsyncIterator[str]:
        """The pieces of a text as they come; raises like `get`. For one reader."""
        told = 0
        while (piece := await self._texts.get()) is not None:
            told += len(piece)
            yield piece
        text = await self.get()
        if len(text) > told:  # by an engine that does not stream
            yield text[told:]

    def settle(self, value: Any) -> None:
        if isinstance(value, Context):
            self._context = value
            self._session.own(value)
        if not self.future.done():
            self.future.set_result(value)
            self._texts.put_nowait(None)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # nobody has to await it
            self._texts.put_nowait(None)

    def add_text(self, piece: str) -> None:
        self._texts.put_nowait(piece)

    def __del__(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            self._session.disown(context)


@dataclass(slots=True, eq=False)
class Segment:
    """A segment that was issued."""

    reads: bool
    writes: bool
    pending: dict[str, Pending]
    failures: list[Exception] = field(default_factory=list)  # once it has ended
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
        for name, pending in self.pending.items():
            pending.fail(failure or QueryError(f"%{name} was never given"))
            error = pending.future.exception()
            if isinstance(error, Exception):
                self.failures.append(error)
        if failure is not None:
            self.failures.append(failure)
        self.pending.clear()


class Session:
    """One run of an `async def` app. All methods are called on the app's event loop."""

    def __init__(self, name: str, start: Start, release: Release, *, is_plain: bool) -> None:
        self.name = name
        self.seen: list[Exception] = []  # failures that the app was told
        self._start = start
        self._release = release
        self._is_plain = is_plain  # one segment after another
        self._segments: list[Segment] = []
        self._contexts: dict[int, tuple[Context, int]] = {}  # by id, with the number of holders
        self._releasing: list[Future[None]] = []
        self._is_closed = False

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
        those `streamed` come by `Pending.texts`.
        """
        nodes = program.graph.nodes
        segment = Segment(
            reads=any(map(reads_state, nodes)),
            writes=any(map(has_effects, nodes)),
            pending={name: Pending(self) for name in program.graph.outputs},
        )
        self._segments = [earlier for earlier in self._segments if not earlier.is_over]
        before = [earlier for earlier in self._segments if self._comes_before(earlier, segment)]
        outputs = _outputs(segment.pending, final, streamed)
        running = self._start_after(before, program, dict(inputs), outputs, seen=list(self.seen))
        segment.task = asyncio.get_running_loop().create_task(_noted(segment, running))
        self._segments.append(segment)
        for issued in _issued.get():
            issued.append(segment)
        return dict(segment.pending)

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
            self.seen.append(error)

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
        for segment in self._segments:
            assert segment.task is not None, "set when it is issued"
            if segment.writes or segment.has_given_all:
                await asyncio.wait([segment.task])
            if segment.writes:
                _raise_unseen(segment, self.seen)

    async def _start_after(
        self,
        before: Sequence[Segment],
        program: Program,
        inputs: dict[str, Any],
        outputs: Outputs,
        seen: Sequence[Exception],
    ) -> None:
        """Run a program behind other segments; `seen` are the failures that the app knew of when
        it was issued."""
        if before:
            await asyncio.wait([earlier.task for earlier in before if earlier.task is not None])
        if any(map(has_effects, program.graph.nodes)):
            for earlier in before:
                _raise_unseen(earlier, seen)
        for name, value in inputs.items():
            if isinstance(value, Pending):
                inputs[name] = await value.as_input()
        await self._start(program, inputs, outputs)

    async def _close(self) -> None:
        """Cancel what still runs and give back all contexts."""
        tasks = [segment.task for segment in self._segments if segment.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._is_closed = True
        contexts, self._contexts = self._contexts, {}
        self._releasing += [self._release(context) for context, _ in contexts.values()]
        await asyncio.gather(*map(asyncio.wrap_future, self._releasing), return_exceptions=True)


async def _noted(segment: Segment, running: Coroutine[Any, Any, None]) -> None:
    try:
        await running
    except Exception as failure:
        segment.end(failure)
    else:
        segment.end(None)


def _raise_unseen(segment: Segment, seen: Sequence[Exception]) -> None:
    for failure in segment.failures:
        if not any(failure is told for told in seen):
            raise failure


def _outputs(
    pending: Mapping[str, Pending], final: Collection[str], streamed: Collection[str]
) -> Outputs:
    """What a query tells of its outputs, from the engines' loop to the app's."""
    loop = asyncio.get_running_loop()

    def on_value(name: str, value: Any) -> None:
        try:
            loop.call_soon_threadsafe(pending[name].settle, value)
        except (KeyError, RuntimeError):  # nobody waits: it was cancelled, or its loop is closed
            if isinstance(value, Context):
                value.release()

    def on_text(name: str, piece: str) -> None:
        if name in streamed:
            with suppress(KeyError, RuntimeError):
                loop.call_soon_threadsafe(pending[name].add_text, piece)

    def on_error(name: str, error: QueryError) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_fail, pending, name, error)

    return Outputs(on_value, on_error, on_text if streamed else None, final)


def _fail(pending: Mapping[str, Pending], name: str, error: QueryError) -> None:
    if name in pending:  # somebody still waits
        pending[name].fail(error)


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
