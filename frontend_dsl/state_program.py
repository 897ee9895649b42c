"""`@tl.program`: a function of a state becomes an app of its other parameters."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, TypeVar, cast, get_args

from frontend_dsl.breaks import value
from frontend_dsl.callables import (
    is_coroutine_function,
    name_of,
    place_of_function,
    takes_receiver,
    written_function,
)
from frontend_dsl.components import LLM
from frontend_dsl.declared_types import type_name
from frontend_dsl.errors import DefinitionError, SymbolicError
from frontend_dsl.messages import Message, Role
from frontend_dsl.state import State
from frontend_dsl.template import constants_of
from frontend_dsl.tools import tool
from frontend_dsl.tracer import Tracer, tracing
from frontend_dsl.value import Handle, Value
from frontend_dsl.where import place_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """What a program came to: its variables, its text and its turns."""

    variables: Mapping[str, Any]  # values by name, of the types that tl.gen(out=) said
    texts: Mapping[str, Any]  # what the model wrote, by name
    text: str
    messages: list[Message]

    def __getitem__(self, name: str) -> str:
        """The text of a variable; of one that joined forks made, their list.

        Raises KeyError, with the names there are.
        """
        return cast(str, self._named(self.texts, name))

    def get(self, name: str, type_: type[T]) -> T:
        """The value of a variable: of the type that `tl.gen(out=)` said, or read from its text as
        JSON of the type given here. Raises ValueError for a text that does not say one."""
        value, text = self._named(self.variables, name), self._named(self.texts, name)
        return cast(T, _as_type(name, value, text, type_))

    def _named(self, values: Mapping[str, Any], name: str) -> Any:
        if name not in values:
            known = ", ".join(map(repr, values)) or "none"
            raise KeyError(f"the program has no variable {name!r}; there are: {known}")
        return values[name]


class TracedResult(ProgramResult, Handle):
    """The result of a program that is a part of another app, which may read it before it is
    there."""

    @property
    def behind(self) -> Any:
        """A value of the run, if the result holds one."""
        each = (text if isinstance(text, list) else [text] for text in self.texts.values())
        return next((text for texts in each for text in texts if isinstance(text, Value)), None)

    def get(self, name: str, type_: type[T]) -> T:  # noqa: ARG002
        """For type checkers a value of this type."""
        return cast(T, self._named(self.variables, name))

    def lower(self, tracer: Tracer) -> Value:  # noqa: ARG002
        """The whole result, made of the real values when the app runs."""
        turns = [(message.role, message.content) for message in self.messages]
        return cast(Value, _result(self.variables, self.texts, self.text, turns))


class ProgramFunction:
    """What an app calls to trace a program: the function with a state of its own."""

    def __init__(self, function: Callable[..., Any], llm: LLM) -> None:
        update_wrapper(self, function, updated=())
        self.llm = llm
        self._function = function
        self._constants = constants_of(written_function(function))
        self.__signature__ = _without_state(function)

    def __call__(self, **arguments: Any) -> Any:
        state = self._state()
        with _teaching():
            result = self._function(state, **arguments)
        if result is not None and not isinstance(result, State):
            return result
        return _traced(state if result is None else result)

    def _state(self) -> State:
        return State(self.llm, _constants=self._constants)


class AsyncProgramFunction(ProgramFunction):
    """The same of an `async def` function."""

    async def __call__(self, **arguments: Any) -> Any:
        state = self._state()
        with _teaching():
            result = await self._function(state, **arguments)
        if result is not None and not isinstance(result, State):
            return result
        return await value(_traced(state if result is None else result))


@contextmanager
def _teaching() -> Iterator[None]:
    """Say how values are joined where "".join was given some, which no type checker sees."""
    try:
        yield
    except TypeError as error:
        if "expected str instance, Value found" not in str(error):
            raise
        problem = (
            "the texts given to .join() are known only when the program runs: write "
            'tl.join(texts, "{text}", sep=", ")'
        )
        raise SymbolicError(problem, *place_of(error)) from error


def program_function(function: Callable[..., Any], llm: LLM) -> ProgramFunction:
    """The function of an app. Raises DefinitionError for one that takes no state."""
    function = function.__func__ if isinstance(function, staticmethod) else function
    written_function(function, "program")
    kind = AsyncProgramFunction if is_coroutine_function(function) else ProgramFunction
    return kind(function, llm)


def program_result(
    variables: Mapping[str, Any],
    texts: Mapping[str, Any],
    text: str,
    turns: Sequence[tuple[Role, str]],
) -> ProgramResult:
    """The result of a program, of real values."""
    return ProgramResult(variables, texts, text, [Message(*turn) for turn in turns])


_result = tool(pure=True)(program_result)


def _as_type(name: str, value: Any, text: Any, type_: Any) -> Any:
    """A real value as one of a type; what was a plain text is read as JSON."""
    if type_ is str:
        return text
    from pydantic import TypeAdapter, ValidationError  # late: it would double teola's import time

    adapter = TypeAdapter(type_)
    texts, wanted = (text, get_args(type_)) if isinstance(text, list) else (None, ())
    try:
        if texts is not None and value == texts and wanted and wanted[0] is not str:
            return [TypeAdapter(wanted[0]).validate_json(each) for each in texts]
        is_text = isinstance(value, str) and value == text
        return adapter.validate_json(text) if is_text else adapter.validate_python(value)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        problem = f"variable {name!r} is no {type_name(type_)}: {said}; the model wrote {text!r}"
        raise ValueError(problem) from None


def _traced(state: State) -> Any:
    texts = {name: variable.text for name, variable in state._point.variables.items()}
    traced = TracedResult(state.variables, texts, state.text(), state.messages)
    return traced if traced.behind is not None else traced.lower(tracing("a program"))


def _may_be_state(parameter: inspect.Parameter | None) -> bool:
    """Whether it has no type, or that of a state; of a type in quotes the end is looked at."""
    type_ = inspect.Parameter.empty if parameter is None else parameter.annotation
    if isinstance(type_, str):
        return type_.strip("'\"").endswith("State")
    return type_ in (inspect.Parameter.empty, State)


def _without_state(function: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    first = parameters[0] if parameters else None
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    is_state = first is not None and first.kind in by_place and first.name not in ("self", "cls")
    if not is_state or takes_receiver(function) or not _may_be_state(first):
        problem = (
            f"the program {name_of(function)}() must be a plain function whose first parameter is "
            "the state: `def program(s: tl.State, question: str)`"
        )
        raise DefinitionError(problem, *place_of_function(function))
    return signature.replace(parameters=parameters[1:])
