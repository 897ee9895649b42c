"""`@tl.program`: a function of a state as an app."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from frontend_dsl.app import App, make_app
from frontend_dsl.components import LLM, no_llm
from frontend_dsl.state import State
from frontend_dsl.state_program import ProgramResult, program_function
from graph_opt.objective import Kind
from teola._app import _runner

P = ParamSpec("P")
R = TypeVar("R")


class ProgramMaker(Protocol):
    """The decorator that `program(...)` gives."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[State, P], Coroutine[Any, Any, State | None]], /
    ) -> App[P, ProgramResult]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[State, P], Coroutine[Any, Any, R]], /
    ) -> App[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[State, P], State | None], /
    ) -> App[P, ProgramResult]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[State, P], R], /) -> App[P, R]: ...


def program(
    llm: LLM,
    *,
    optimize: bool = True,
    timeout_s: float | None = None,
    objective: Kind = "latency",
    engines: Mapping[str, str] | None = None,
) -> ProgramMaker:
    """Make a function of a `tl.State` an app of its other parameters.

    The function adds texts, turns and `tl.gen`s to the state, `s += tl.gen("answer")`, and reads
    what the model wrote, `s["answer"]`. What it returns is the app's result; for the state, or
    nothing, that is a `tl.ProgramResult`. The options are those of `@tl.app`.
    """
    if not isinstance(llm, LLM):
        raise TypeError(f"@tl.program needs an LLM, not {no_llm(llm, '@tl.program')}")
    options: dict[str, Any] = {
        "optimize": optimize,
        "timeout_s": timeout_s,
        "objective": objective,
        "engines": dict(engines or {}),
    }

    def make(function: Callable[..., Any]) -> Any:
        return make_app(_runner, program_function(function, llm), **options)

    return make
