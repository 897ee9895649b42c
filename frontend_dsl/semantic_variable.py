"""Semantic variables: named values of an app that may be passed on before a call fills them."""

from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any, Generic, TypeVar, cast, get_args, overload

from frontend_dsl.breaks import run_of_async_app
from frontend_dsl.errors import TraceError, VariableError
from frontend_dsl.late_calls import LateCall, LateValue, late_in
from frontend_dsl.marked_texts import is_symbolic
from frontend_dsl.markers import mark
from frontend_dsl.objectives import mark_objective
from frontend_dsl.segments import SegmentTracer
from frontend_dsl.tracer import current, tracing
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame
from graph_opt.objective import LATENCY, Kind

T = TypeVar("T")


class Variable(LateValue, Generic[T]):
    """What a semantic function fills: a future of type T, and a place for its text in prompts.

    It can be passed on before the call that fills it: calls of semantic functions, prompt functions
    and tools wait for it. In an `async def` app `await variable` gives the real value.
    """

    __slots__ = ("_wanted",)

    def __init__(self, type_: Any, name: str, place: tuple[str, int]) -> None:
        super().__init__(None, name, type_)
        self._place = place
        self._content = None
        self._wanted: Kind | None = None  # what it is served for, said before it is filled

    @property
    def value(self) -> T:
        """The same, typed as what it will be: for functions that declare a `T`, and as a result."""
        return cast(T, self if self._content is None else self._content[0])

    def get(self, criterion: Kind | None = None) -> "Variable[T]":
        """Say what the value is wanted for: `tl.LATENCY`, somebody waits; `tl.THROUGHPUT`, in bulk.

        That is the objective of whatever leads to it, up to values with a criterion of their own.
        In an `async def` app `await v.get(tl.LATENCY)` gives the real value; work that was started
        by an earlier await keeps its objective.
        """
        if criterion is not None and criterion not in get_args(Kind):
            known = "tl.LATENCY or tl.THROUGHPUT"
            raise TraceError(f".get() takes {known}, not {criterion!r}", *user_frame())
        if criterion is not None and self._wanted != LATENCY:
            self._wanted = criterion
        self._mark()
        return self

    def set(self, value: T) -> None:
        """Fill the variable with a value of the app, or a constant. Raises VariableError if it is
        filled already."""
        self._check_empty()
        tracer, late = current(), [*late_in(value)]
        if tracer is None or not is_symbolic(value):
            self._content = (value,)
        elif late:
            lift = partial(self._lift, value)
            tracer.late_calls.call(LateCall("set", user_frame(), late, [self], lift))
        else:
            self._lift(value)
        if tracer is not None:
            tracer.late_calls.emit_ready()

    def _lift(self, value: Any) -> None:
        self._fill(tracing(".set()").lift(value))

    def __await__(self) -> Generator[Any, Any, T]:
        if self._content is not None:
            return _done(self._content[0]).__await__()
        run = run_of_async_app(f"variable {self._name!r}", "return it, or pass it on")
        return run.resolve(self).__await__()

    def __format__(self, spec: str) -> str:
        if self._content is not None:
            return format(self._content[0], spec)
        if self._is_late and not spec:
            self._here().keep(self)
            return mark(self._id)
        return super().__format__(spec)

    def __str__(self) -> str:
        return super().__str__() if self._content is None else str(self._content[0])

    def __repr__(self) -> str:
        if self._content is not None:
            return f"Variable({self._name!r}, {self._content[0]!r})"
        return super().__repr__()

    def __hash__(self) -> int:  # type: ignore[override]
        """Of the variable itself, so that asyncio.gather takes it, where one can be awaited."""
        can_be_awaited = self._content is not None or isinstance(current(), SegmentTracer)
        return object.__hash__(self) if can_be_awaited else super().__hash__()

    def _here(self) -> Any:
        tracer = current() or self._tracer
        if tracer is None:
            is_real = self._content is not None
            what = "take its real value, .value" if is_real else "use it in a @tl.app"
            problem = f"variable {self._name!r} is used outside of an app: {what}"
            raise VariableError(problem, *self._place)
        return tracer

    def _check_empty(self) -> None:
        if not self._is_late:
            problem = f"variable {self._name!r} is filled already; make a tl.variable() for each"
            raise VariableError(f"{problem} value", *user_frame())

    def _fill(self, value: Value) -> None:
        """Let what produces this value be its producer."""
        self._check_empty()
        if isinstance(value, LateValue) and value._content is not None:
            self._content = value._content
            return
        self._tracer, self._name, self._type = value._tracer, value._name, value._type
        self._pending = value._pending
        if self._pending is None and self._tracer is not None:
            self._tracer.hold(self)
        self._mark()

    def _mark(self) -> None:
        if self._wanted is not None and self._tracer is not None and self._pending is None:
            mark_objective(self._tracer.nodes, self._name, self._wanted)


async def _done(value: T) -> T:
    return value


@overload
def variable(*, name: str | None = None) -> Variable[str]: ...
@overload
def variable(out: type[T], *, name: str | None = None) -> Variable[T]: ...


def variable(out: Any = str, *, name: str | None = None) -> Variable[Any]:
    """A variable that a call will fill: `draft = tl.variable()`, and `write(topic, draft=draft)`.

    `out` is the type of its value, `name` what messages call it.
    """
    return Variable(out, name or "variable", user_frame())


def when_there(
    name: str, late: Iterable[LateValue], type_: Any, emit: Callable[[], Any]
) -> Variable[Any]:
    """What a call gives that waits for late inputs: a variable, filled by what `emit` makes."""
    place = user_frame()
    given: Variable[Any] = Variable(type_, name, place)

    def fill() -> None:
        with tracing(name).call(name, place):
            given._fill(emit())

    tracing(name).late_calls.call(LateCall(name, place, [*late], [given], fill))
    return given
