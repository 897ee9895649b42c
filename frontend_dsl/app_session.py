"""One run of an `async def` app: its graphs come to be, segment by segment, while it runs."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from frontend_dsl.app_function import AppFunction
from frontend_dsl.approver import approved_by
from frontend_dsl.bounded import BoundedCache
from frontend_dsl.breaks import AsyncRun, Shape
from frontend_dsl.engine_names import check_before_run, engines_read_by
from frontend_dsl.nested import Specs
from frontend_dsl.program import CallInputs, Program, RunListened, Runner, RunOptions, Segments
from frontend_dsl.symbols import Symbols, check_names


@dataclass(frozen=True, slots=True)
class AppSession:
    """What a run needs of its app."""

    function: AppFunction
    programs: BoundedCache[Shape, Program]  # of segments; all runs of the app share them
    specs: Specs | None = None  # the engines of a run around it

    async def run(self, runner: Runner, arguments: CallInputs, options: RunOptions) -> Any:
        """The app's result. Raises ConfigError for engines of the options that it does not have."""
        function, name = self.function, self.function.name
        check_before_run(options.engines, function)
        symbols = Symbols(function.variables, self.specs)

        async def body(segments: Segments) -> Any:
            run = AsyncRun(name, symbols, self.programs, function.place, segments)
            with approved_by(options.approve, segments.stored_as):
                return await run.run(function.call, arguments)

        engines = partial(engines_read_by, function)
        result = await runner.run_segments(name, body, options, arguments, engines)
        check_names(options.engines, symbols.engines.keys(), f"app {name}()")
        return result


def listened(
    run: Callable[[RunOptions], Coroutine[Any, Any, Any]], options: RunOptions
) -> RunListened:
    """What starts the run with one more listener, beside that of the options."""

    def start(listen: Callable[[Any], None]) -> Coroutine[Any, Any, Any]:
        users = options.listener
        listener = listen if users is None else partial(_tell_both, users, listen)
        return run(replace(options, listener=listener))

    return start


def _tell_both(first: Callable[[Any], None], second: Callable[[Any], None], event: Any) -> None:
    first(event)
    second(event)
