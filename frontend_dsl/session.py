"""`async def` apps: graphs with breaks.

Calls are traced as in a `def` app. `await tl.value(x)` is a break: everything issued since the last
one becomes a segment, a graph that is compiled, cached by its shape, and started whole; the
await ends as soon as `x` itself is there. Values of earlier segments are inputs of later ones.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

from frontend_dsl.errors import TraceError
from frontend_dsl.known import as_known
from frontend_dsl.program import OnValue, Program
from frontend_dsl.symbols import Symbols
from frontend_dsl.tracer import Tracer, tracing_with
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame
from graph_opt.graph import Arg, Graph, Node, Ref
from graph_opt.ops import OPS, has_effects, reads_state
from graph_opt.paths import walk

T = TypeVar("T")

_session: ContextVar["Session | None"] = ContextVar("teola_session", default=None)


# runs a program; tells each output as soon as it is there, and ends with the program
Start = Callable[[Program, Mapping[str, Any], OnValue], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Pending:
    """A value of a segment that was started."""

    value: Value  # as the user holds it
    future: "asyncio.Future[Any]"


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that was started: what it returns, and whether the app must wait for its end."""

    futures: tuple["asyncio.Future[Any]", ...]
    must_end: bool  # it has effects


class SegmentTracer(Tracer):
    """Traces one segment; what comes from earlier ones, or is real, becomes an input."""

    def __init__(self, session: "Session") -> None:
        super().__init__(session.symbols, place=session.place)
        self.session = session
        self.made: WeakValueDictionary[str, Value] = WeakValueDictionary()
        self.inputs: dict[str, Any] = {}  # param -> a real value, or a Pending one
        self._params: dict[int, Value] = {}  # id of what is behind it -> param
        self._behind: list[Any] = []  # keeps those ids from being given twice

    def note(self, node: Node, values: Sequence[Value]) -> None:
        if node.op not in ("input", "context", "prefill"):
            kept = values[:1] if OPS[node.op].writes_text else values  # not a decode's context
            self.made.update((value._name, value) for value in kept)

    def own(self, value: Value) -> Value:
        if value._tracer is self:
            return value
        pending = self.session.pending.get(value._id)
        if pending is None:
            return super().own(value)
        return self._param(value, pending, value._name, value._type)

    def input_value(self, value: Any) -> Value:
        """A real value as an input of the segment."""
        type_ = str if isinstance(value, str) else type(value)
        return self._param(value, value, self.session.names.get(id(value), "given"), type_)

    def lower(self, arg: Any) -> Arg:
        if isinstance(arg, str) and type(arg) is not str:
            return Ref(self.input_value(arg)._name)
        return super().lower(arg)

    def constant(self, value: Any) -> Value:
        return self.input_value(value)

    def _param(self, key: Any, behind: Any, hint: str, type_: Any) -> Value:
        if id(key) not in self._params:
            param = self.param(hint, type_)
            self._params[id(key)] = param
            self._behind.append(key)
            self.inputs[param._name] = behind
        return self._params[id(key)]


class Session:
    """One run of an `async def` app."""

    def __init__(
        self,
        name: str,
        symbols: Symbols,
        start: Start,
        programs: dict[str, Program],
        place: tuple[str, int],
    ) -> None:
        self.name = name
        self.symbols = symbols
        self.place = place
        self.pending: dict[int, Pending] = {}  # by Value id
        self._start = start
        self._programs = programs
        self.is_plain = False  # one segment after another
        self.names: dict[int, str] = {}  # id of an argument -> its name
        self._running: dict[asyncio.Task[None], Segment] = {}
        self._last_effect: asyncio.Task[None] | None = None
        self._told: list[BaseException] = []  # failures that the app has seen
        self.tracer = SegmentTracer(self)

    async def run(
        self, function: Callable[..., Awaitable[Any]], arguments: Mapping[str, Any]
    ) -> Any:
        """The app's result, all values in it real. What it leaves running is cancelled, but what
        has effects is waited for."""
        token = _session.set(self)
        try:
            with tracing_with(lambda: self.tracer):
                known = {name: as_known(value) for name, value in arguments.items()}
                self.names = {id(value): name for name, value in known.items()}
                result = await function(**known)
                real = await self.resolve(result)
                if _touches_state(self.tracer.nodes):
                    self._cut(())
                await self._end()
            return real
        finally:
            _session.reset(token)
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _end(self) -> None:
        """Wait for segments with effects, and for those that have given all they return."""
        for task, segment in self._running.items():
            if segment.must_end or all(future.done() for future in segment.futures):
                await asyncio.wait([task])
                failure = task.exception()
                if failure is not None and failure not in self._told:
                    raise failure

    async def resolve(self, value: Any) -> Any:
        """The real value behind a symbolic one, or inside a list, tuple or dict of them."""
        if not isinstance(value, Value):
            value = self.tracer.lift(value) if _holds_symbols(value) else value
        if not isinstance(value, Value):
            return value
        if value._id not in self.pending:
            self._cut((value,))
        try:
            return as_known(await self.pending[value._id].future)
        except Exception as error:
            self._told.append(error)  # the app knows: it may go on without
            raise

    def _cut(self, wanted: Sequence[Value]) -> None:
        """Start everything traced so far as a segment, and begin a new one.

        It returns what is wanted and whatever else of it the user still holds.
        """
        tracer, self.tracer = self.tracer, SegmentTracer(self)
        held = {value._id: value for value in (*tracer.made.values(), *wanted)}
        values = [held[number] for number in sorted(held)]
        graph = tracer.graph(self.name, values)
        loop = asyncio.get_running_loop()
        names = [tracer.own(value)._name for value in values]
        futures: dict[str, asyncio.Future[Any]] = {name: loop.create_future() for name in names}
        for value, name in zip(values, names, strict=True):
            self.pending[value._id] = Pending(value, futures[name])
        touches = _touches_state(graph.nodes)
        before = self._last_effect if touches or self.is_plain else None
        task = loop.create_task(self._run(graph, dict(tracer.inputs), futures, before))
        self._running[task] = Segment(tuple(futures.values()), must_end=touches)
        if touches or self.is_plain:
            self._last_effect = task

    async def _run(
        self,
        graph: Graph,
        inputs: dict[str, Any],
        futures: Mapping[str, "asyncio.Future[Any]"],
        before: "asyncio.Task[None] | None",
    ) -> None:
        loop = asyncio.get_running_loop()

        def on_value(name: str, value: Any) -> None:
            loop.call_soon_threadsafe(_settle, futures[name], value)

        try:
            if before is not None:
                await asyncio.wait([before])  # its failure is its own
            for name, behind in inputs.items():
                if isinstance(behind, Pending):
                    inputs[name] = await behind.future
            await self._start(self._program(graph), inputs, on_value)
        except Exception as error:
            for future in futures.values():
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # nobody has to await it
            raise

    def _program(self, graph: Graph) -> Program:
        key = str(graph)
        if key not in self._programs:
            used = {node.attrs["engine"] for _, node, _ in walk(graph) if "engine" in node.attrs}
            engines = {str(name): self.symbols.engines[str(name)] for name in used}
            self._programs[key] = Program(graph, engines, self.symbols.values, Any)
        return self._programs[key]


async def value(x: T) -> T:
    """The real value of `x`, in an `async def` app: a graph break.

    Everything issued so far starts running; the await ends when `x` is there.
    """
    session = _session.get()
    if session is None:
        problem = "tl.value() is for `async def` apps; a `def` app has tl.cond, tl.map and tl.loop"
        raise TraceError(problem, *user_frame())
    return cast(T, await session.resolve(x))


def _settle(future: "asyncio.Future[Any]", value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _touches_state(nodes: Sequence[Node]) -> bool:
    return any(has_effects(node) or reads_state(node) for node in nodes)


def _holds_symbols(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_symbols, value))
    if isinstance(value, dict):
        return any(map(_holds_symbols, value.values()))
    return isinstance(value, Value) or (isinstance(value, str) and "\ufdd0teola:" in value)
