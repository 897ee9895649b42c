"""Calls whose inputs nothing has produced yet: they are emitted when the producer comes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frontend_dsl.errors import VariableError
from frontend_dsl.marked_texts import has_marks, split_marks
from frontend_dsl.value import Value


class LateValue(Value):
    """A value that may exist before what produces it."""

    __slots__ = ("_content", "_place")

    _content: tuple[Any] | None  # the constant that it was set to
    _place: tuple[str, int]  # where it was made: file and line

    @property
    def _is_late(self) -> bool:
        """Whether nothing produces it yet."""
        return self._tracer is None and self._content is None


@dataclass(frozen=True, slots=True, eq=False)
class LateCall:
    """A call that waits for the producers of its inputs."""

    name: str
    place: tuple[str, int]
    inputs: Sequence[LateValue]
    outputs: Sequence[LateValue]
    emit: Callable[[], None]

    @property
    def missing(self) -> LateValue | None:
        """The first input that nothing produces yet."""
        return next((value for value in self.inputs if value._is_late), None)


class LateCalls:
    """The calls that wait: of one body, or of a whole `async def` app."""

    def __init__(self) -> None:
        self._waiting: list[LateCall] = []

    def call(self, call: LateCall) -> None:
        """Emit this call when its inputs are there: now, or later."""
        self._waiting.append(call)
        self.emit_ready()

    def emit_ready(self) -> None:
        """Emit the calls whose inputs are there by now, in their order, and those they enable."""
        while ready := [call for call in self._waiting if call.missing is None]:
            self._waiting.remove(ready[0])
            ready[0].emit()

    def finish(self) -> None:
        """The function that made these calls is over. Raises VariableError if one still waits."""
        self.emit_ready()
        waiting, self._waiting = self._waiting, []  # an error is told once
        if waiting:
            raise _never_ready(waiting)


def _never_ready(waiting: Sequence[LateCall]) -> VariableError:
    """Why the first call waits for ever: a variable that nothing fills, or a circle."""
    makers = {id(value): call for call in waiting for value in call.outputs}
    call, path = waiting[0], list[LateValue]()
    while True:
        value = call.missing
        assert value is not None, "a call whose inputs are there does not wait"
        if any(value is seen for seen in path):
            return _circle(path[next(i for i, seen in enumerate(path) if seen is value) :])
        path.append(value)
        if id(value) not in makers:
            file, line = call.place
            problem = (
                f"variable {value._name!r} is read by {call.name}() ({file}:{line}), and no call "
                "before the end of this function fills it: pass it as an output, or set() it"
            )
            return VariableError(problem, *value._place)
        call = makers[id(value)]


def _circle(path: Sequence[LateValue]) -> VariableError:
    names = " from ".join(repr(value._name) for value in (*path, path[0]))
    problem = f"variables are made in a circle, each from the next: {names}"
    return VariableError(problem, *path[0]._place)


def late_in(value: Any) -> Iterator[LateValue]:
    """The values in an argument, also in its texts, lists and dicts, that nothing produces yet."""
    if isinstance(value, LateValue):
        if value._is_late:
            yield value
    elif has_marks(value):
        for piece in split_marks(value):
            yield from () if isinstance(piece, str) else late_in(piece)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from late_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from late_in(item)


def known(value: Any) -> Any:
    """The constant that a variable was set to; any other value as it is."""
    is_set = isinstance(value, LateValue) and value._content is not None
    return value._content[0] if is_set else value


def standing_for(value: Value, lift: Callable[[Any], Value]) -> Value:
    """What stands for a value of no graph: its constant. Raises VariableError if it has none."""
    assert isinstance(value, LateValue), "all other values are made by a tracer"
    if value._content is not None:
        return lift(value._content[0])
    problem = (
        f"variable {value._name!r} is used before any call fills it; only calls of semantic "
        "functions, prompt functions and tools wait for a variable: fill it before this line"
    )
    raise VariableError(problem, *value._place)
