"""From the function of a `def` app to programs: one for each set of static arguments.

A program is out of date when something that its code read is redefined, and is then traced anew.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frontend_dsl.app_function import AppFunction
from frontend_dsl.bounded import BoundedCache
from frontend_dsl.callables import written_function
from frontend_dsl.errors import SymbolicError, TraceError
from frontend_dsl.marked_texts import make_readable
from frontend_dsl.program import Program
from frontend_dsl.reads import Reads
from frontend_dsl.signature import BoundArguments, HandleShape
from frontend_dsl.source_check import check_source, kinds_of
from frontend_dsl.symbols import Symbols
from frontend_dsl.tracer import Tracer
from frontend_dsl.value import Value
from frontend_dsl.where import place_of
from graph_opt.errors import GraphError
from graph_opt.ops import has_effects

MAX_PROGRAMS = 64  # of an app: one a set of static arguments, or a segment's shape


@dataclass(frozen=True, slots=True)
class _Traced:
    program: Program
    reads: Reads
    receiver: Any  # of a method; held, so that its id stays its own


class TracedPrograms:
    """The programs of one app, and of its copies by `using`. Threads may share it."""

    def __init__(self) -> None:
        self._traced: BoundedCache[str, _Traced] = BoundedCache(MAX_PROGRAMS)

    def of(self, function: AppFunction, bound: BoundArguments) -> Program:
        """The program of a call. Raises GraphError, and what the function raises."""
        key = function.key(bound.static)
        found = self._traced.get(key)
        if found is None or not found.reads.are_current():
            reads = Reads(function.call)  # first, for what is redefined meanwhile
            found = _Traced(_program(function, bound), reads, function.receiver)
            self._traced.put(key, found)
        return found.program

    def __len__(self) -> int:
        return len(self._traced)


def _program(function: AppFunction, bound: BoundArguments) -> Program:
    symbols = Symbols(function.variables)
    tracer = Tracer(symbols, place=function.place)
    arguments = _symbolic(tracer, function, bound)
    with tracer.active():
        result = _returned(function, arguments)
        tracer.late_calls.finish()
        output = _output(tracer, function, result)
    tracer.check_no_misuse()
    graph = tracer.graph(function.name, [output])
    return Program(graph, symbols.engines, symbols.values, output._type)


def _symbolic(tracer: Tracer, function: AppFunction, bound: BoundArguments) -> dict[str, Any]:
    """The arguments of the traced call; what is not static stands for its parameter."""
    arguments: dict[str, Any] = dict(bound.static)
    for parameter in function.parameters:
        if parameter.name in bound.symbolic:
            value = tracer.param(parameter.name, parameter.type)
            shape = bound.static.get(parameter.name)
            arguments[parameter.name] = (
                shape.handle.like(value) if isinstance(shape, HandleShape) else value
            )
    return arguments


def _output(tracer: Tracer, function: AppFunction, result: Any) -> Value:
    if result is None and not any(map(has_effects, tracer.nodes)):
        problem = (
            f"app {function.name}() returned nothing, and nothing in it has effects: write "
            "`return ...`"
        )
        raise TraceError(problem, *function.place)
    try:
        return tracer.lift(result)
    except TraceError as error:  # the function has returned: the place is the caller's
        raise type(error)(error.problem, *function.place) from None


def _returned(function: AppFunction, arguments: Mapping[str, Any]) -> Any:
    check_source(written_function(function.call), kinds_of(arguments))
    try:
        return function.call(**arguments)
    except RecursionError as error:
        problem = (
            f"app {function.name}() calls itself without end while it is traced, as both branches "
            "of a tl.cond are: repeat with tl.loop, or make the app `async def`"
        )
        raise TraceError(problem, *function.place) from error
    except Exception as error:
        make_readable(error)
        is_ours = isinstance(error, GraphError) or not isinstance(error, (TypeError, ValueError))
        if is_ours or not _ABOUT_A_VALUE.search(str(error)):
            raise
        problem = f"a value of the run was used as if it were known: {error}; use a tl.tool"
        raise SymbolicError(problem, *place_of(error)) from error


# how Python and pydantic name the class of a symbolic value that they cannot take
_ABOUT_A_VALUE = re.compile(r"'Value'|\bValue found|\btype Value\b|\bnot Value\b|=Value\b")
