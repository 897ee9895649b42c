"""Components used outside of an app: a call is a small program of its own, run at once."""

from collections.abc import Callable
from typing import Any, TypeVar

from frontend_dsl.errors import TraceError
from frontend_dsl.program import Program, Runner, RunOptions
from frontend_dsl.symbols import Symbols
from frontend_dsl.tracer import Tracer
from frontend_dsl.where import user_frame

T = TypeVar("T")

_runner: Callable[[], Runner] | None = None


def set_runner(runner: Callable[[], Runner]) -> None:
    """What runs the calls outside of apps: the runner of the apps, so that engines are shared."""
    global _runner
    _runner = runner


def runner_for(name: str) -> Runner:
    """What runs the call of `name`. Raises TraceError where teola was not imported whole."""
    if _runner is None:
        problem = f"{name} is called outside of an app, and nothing runs it here; import teola"
        raise TraceError(problem, *user_frame())
    return _runner()


def compute(name: str, call: Callable[[], T]) -> T:
    """The real value of what `call` makes in an app. Blocks; raises what the run raises."""
    runner = runner_for(name)
    symbols = Symbols({})
    tracer = Tracer(symbols, place=user_frame())
    with tracer.active():
        made = call()
        tracer.late_calls.finish()
        output = tracer.lift(made)
    graph = tracer.graph(name, [output])
    program = Program(graph, symbols.engines, symbols.values, output._type)
    result: Any = runner.run(program, {}, RunOptions())
    return result  # type: ignore[no-any-return]
