"""`async def` apps: graphs with breaks.

Calls are traced as in a `def` app. `await tl.value(x)` is a break: everything issued since the last
one becomes a segment, a graph that is compiled, cached by its shape, and started whole; the await
ends as soon as `x` itself is there. Values of earlier segments are inputs of later ones.
"""

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from types import CoroutineType
from typing import Any, TypeVar, cast

from frontend_dsl.await_mistakes import explained
from frontend_dsl.bounded import BoundedCache
from frontend_dsl.errors import TraceError
from frontend_dsl.late_calls import LateCalls
from frontend_dsl.leaks import check_no_symbol_inside
from frontend_dsl.marked_texts import has_marks, is_symbolic, make_readable
from frontend_dsl.program import Program, Segments
from frontend_dsl.segments import SegmentTracer, identity
from frontend_dsl.symbols import Symbols
from frontend_dsl.tracer import current, tracing_with
from frontend_dsl.value import Handle, Value
from frontend_dsl.where import user_frame
from graph_opt.graph import Graph, Json
from graph_opt.ops import has_effects
from graph_opt.paths import walk
from graph_opt.text import to_text

T = TypeVar("T")
Shape = tuple[str, tuple[tuple[str, str], ...]]  # the text of a graph, and its engines' keys

_run: ContextVar["AsyncRun | None"] = ContextVar("teola_async_run", default=None)


class AsyncRun:
    """The tracing of one run of an `async def` app."""

    def __init__(
        self,
        name: str,
        symbols: Symbols,
        programs: BoundedCache[Shape, Program],
        place: tuple[str, int],
        segments: Segments,
    ) -> None:
        self.name = name
        self._symbols = symbols
        self._programs = programs
        self._place = place
        self._segments = segments
        self._names: dict[Any, str] = {}  # identity of an argument -> its name
        self._late_calls = LateCalls()
        self._in_texts: list[Value] = []  # values whose markers stand in texts
        self._home = object()  # of chats, say, that belong to this run
        self._tracer = self._new_tracer()

    async def run(
        self, function: Callable[..., Awaitable[Any]], arguments: Mapping[str, Any]
    ) -> Any:
        """The app's result, all values in it real. Effects that were issued happen, also when the
        function raises."""
        self._names.update((identity(value), name) for name, value in arguments.items())
        return await self._run(function, arguments, is_app=True)

    async def inline(
        self,
        name: str,
        function: Callable[..., Awaitable[Any]],
        arguments: Mapping[str, Any],
        timeout_s: float | None,
    ) -> Any:
        """The real result of another `async def` app, which becomes a part of this one. One with a
        limit has segments of its own, which end with it."""
        if timeout_s is None:
            return await self.resolve(await function(**arguments))
        self.cut()  # what was issued before belongs to the app around
        part = copy.copy(self)
        part._tracer = part._new_tracer()
        work = part._run(function, arguments, is_app=False)
        return await self._segments.within(name, work, timeout_s)

    async def _run(
        self, function: Callable[..., Awaitable[Any]], arguments: Mapping[str, Any], *, is_app: bool
    ) -> Any:
        token = _run.set(self)
        try:
            with tracing_with(lambda: self._tracer):
                try:
                    returned = await function(**arguments)
                    if is_app:
                        self._late_calls.finish()
                    result = await self.resolve(returned, is_result=is_app)
                except Exception as error:
                    make_readable(error)
                    self._cut_effects()
                    taught = explained(error, function)
                    if taught is not error:
                        raise taught from error
                    raise
                self._cut_effects()
                return result
        finally:
            _run.reset(token)

    async def resolve(self, value: Any, *, is_result: bool = False) -> Any:
        """The real value behind a symbolic one, or inside a list, tuple or dict of them."""
        lifted = _mapped(value, self._lift_text)
        values = list(_values_in(lifted))
        if not values:
            return value
        self.cut(values, final=[lifted] if is_result and isinstance(lifted, Value) else ())
        real = {wanted._id: await wanted._pending.get() for wanted in values}
        return _mapped(lifted, lambda x: real[x._id] if isinstance(x, Value) else x)

    async def texts(self, value: Value) -> AsyncIterator[str]:
        """The pieces of a text as they are written."""
        self.cut([value], streamed=[value])
        async for piece in value._pending.texts():
            yield piece

    def cut(
        self,
        wanted: Sequence[Value] = (),
        *,
        final: Sequence[Value] = (),
        streamed: Sequence[Value] = (),
    ) -> None:
        """Start what was issued so far as a segment, if anything was, and begin a new one."""
        wanted = [value for value in wanted if value._pending is None]
        if not wanted and not self._tracer.has_work:
            return
        tracer, self._tracer = self._tracer, self._new_tracer()
        tracer.check_no_misuse()
        graph, values, inputs = tracer.cut(self.name, wanted)
        names = dict(zip((value._id for value in values), graph.outputs, strict=True))
        pending = self._segments.issue(
            self._program(graph),
            inputs,
            final=[names[value._id] for value in final if value._id in names],
            streamed=[names[value._id] for value in streamed if value._id in names],
        )
        for value in values:
            value._pending = pending[names[value._id]]

    def _cut_effects(self) -> None:
        """Start what was issued last, if it has effects; nobody reads its values any more."""
        if any(map(has_effects, self._tracer.nodes)):
            self.cut()

    def _lift_text(self, value: Any) -> Any:
        if isinstance(value, CoroutineType):
            value.close()
            problem = f"the coroutine of {value.__name__}() was not awaited: write await before it"
            raise TraceError(problem, *self._place)
        is_whole = isinstance(value, (Handle, set, frozenset))
        if has_marks(value) or (is_whole and is_symbolic(value)):
            return self._tracer.lift(value)
        if not isinstance(value, (Value, Handle)):
            check_no_symbol_inside(value)  # a model's field, say, which nobody makes real
        return value

    def _new_tracer(self) -> SegmentTracer:
        tracer = SegmentTracer(
            self._symbols,
            self._place,
            self._names,
            lambda: self._tracer,
            self._home,
            self._in_texts,
        )
        tracer.late_calls = self._late_calls
        return tracer

    def _program(self, graph: Graph) -> Program:
        """The program of the graph's shape, with what its names stand for in this run."""
        attrs = [node.attrs for _, node, _ in walk(graph)]
        engines = _named(self._symbols.engines, attrs, ("engine", "engines"))
        specs = tuple((name, spec.key) for name, spec in engines.items())
        found = self._programs.get_or_make(
            (to_text(graph), specs), lambda: Program(graph, engines, {}, Any)
        )
        symbols = _named(self._symbols.values, attrs, ("fn", "type", "value", "items"))
        return replace(found, symbols=symbols)


async def value(x: T) -> T:
    """The real value of `x`, in an `async def` app: a graph break.

    Everything issued so far starts running; the await ends when `x` is there, which may also be a
    list, tuple or dict that holds values, or the call of another `async def` app, for which type
    checkers see its declared type. Raises what failed: the exception of a tool or an engine
    itself, with a note of the place (`tl.errors.failure_of` gives the NodeFailed behind it), or
    OutputInvalid.
    """
    run = run_of_async_app("tl.value()")
    given: Any = await x if isinstance(x, CoroutineType) else x
    return cast(T, await run.resolve(given))


def run_of_async_app(what: str, instead: str = "use tl.cond, tl.map and tl.loop") -> AsyncRun:
    """The run that `what` is called in. Raises TraceError anywhere but in an `async def` app."""
    run = _run.get()
    if run is None or not is_awaited():
        raise TraceError(
            f"{what} can be awaited in an `async def` app only; a `def` app, and a function for "
            f"tl.map, tl.cond or tl.loop, {instead}",
            *user_frame(),
        )
    return run


def is_awaited() -> bool:
    """Whether the code that is traced now can await, as an `async def` app's can."""
    return _run.get() is not None and isinstance(current(), SegmentTracer)


@contextmanager
def not_awaited() -> Iterator[None]:
    """For the code of a `def` app that becomes a part of an `async def` one."""
    token = _run.set(None)
    try:
        yield
    finally:
        _run.reset(token)


def _named(
    symbols: Mapping[str, T], attrs: Sequence[Mapping[str, Json]], keys: Sequence[str]
) -> dict[str, T]:
    """Those of the symbols that the attrs of a graph's nodes name."""
    given = [node[key] for node in attrs for key in keys if key in node]
    names = dict.fromkeys(n for one in given for n in (one if isinstance(one, list) else [one]))
    return {str(name): symbols[str(name)] for name in names if str(name) in symbols}


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The value with its leaves changed, in lists, tuples and dicts of the same kind."""
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(_mapped(item, change) for item in value)
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(item, change) for item in value)
    if isinstance(value, dict):
        return {change(key): _mapped(item, change) for key, item in value.items()}
    return change(value)


def _values_in(value: Any) -> Iterator[Value]:
    """The symbolic values in a value, in order."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _values_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _values_in(key)
            yield from _values_in(item)
    elif isinstance(value, Value):
        yield value
