"""Prompt functions: a function that returns the prompt becomes one call of a language model.

The returned text, or list of messages, is cut at its symbolic values into parts and holes and
lowered to a prefill of those parts, a decode, and, for a declared output type, a parse of the text.
"""

import copy
from collections.abc import Callable, Sequence
from functools import update_wrapper
from inspect import CO_GENERATOR
from types import MethodType
from typing import (
    Any,
    Generic,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from frontend_dsl.callables import (
    is_coroutine_function,
    name_of,
    place_of_function,
    takes_receiver,
    written_function,
)
from frontend_dsl.components import LLM, no_llm
from frontend_dsl.errors import DefinitionError, TraceError
from frontend_dsl.forms import Form, form_of
from frontend_dsl.late_calls import late_in
from frontend_dsl.marked_texts import has_marks
from frontend_dsl.messages import Message, is_conversation, turn_parts
from frontend_dsl.sampling import Sampling
from frontend_dsl.semantic_variable import when_there
from frontend_dsl.source_check import check_call
from frontend_dsl.template import TString, constants_of, is_t_string, parts_of
from frontend_dsl.tracer import tracing
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame
from frontend_dsl.writing import write

P = ParamSpec("P")
T = TypeVar("T", covariant=True)
Prompt: TypeAlias = "str | TString | list[Message]"


class PromptFunction(Generic[P, T]):
    """One call of a language model, written as a function that returns the prompt."""

    def __init__(
        self,
        function: Callable[P, Prompt],
        llm: LLM,
        system: str | None,
        form: Form,
        sampling: Sampling,
    ) -> None:
        update_wrapper(self, function, updated=())
        self.llm = llm
        self.system = system
        self.name = name_of(function)
        self._function = function
        self._form = form
        self._sampling = sampling  # as given
        self._constants = (*constants_of(written_function(function)), *filter(None, [system]))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        tracer = tracing(f"the prompt function {self.name}()")
        with tracer.call(self.name):
            check_call(self._function, args, kwargs)
            turns = self._turns(self.name, self._function(*args, **kwargs))
            late = [*late_in([turn.content for turn in turns])]
            if not late:
                return cast(T, self._written(turns))
        return cast(T, when_there(self.name, late, self._form.out, lambda: self._written(turns)))

    def __repr__(self) -> str:
        return f"<prompt function {self.name}>"

    def _written(self, turns: Sequence[Message]) -> Value:
        tracer = tracing(self.name)
        parts = turn_parts(turns, self._constants, tracer.given)
        return write(tracer, self.name, self.llm, None, parts, self._form).result

    def __get__(self, instance: Any, owner: type | None = None) -> "PromptFunction[..., T]":
        """Of a method: the prompt of one object."""
        if instance is None or not takes_receiver(self._function):
            return self
        bound: PromptFunction[..., T] = copy.copy(self)
        bound._function = MethodType(self._function, instance)
        return bound

    def using(
        self, *, llm: LLM | None = None, **sampling: Unpack[Sampling]
    ) -> "PromptFunction[P, T]":
        """The same prompt, written another way: `answer.using(temperature=0.7, llm=big)(question)`.

        What is left out stays as it is. Raises TypeError and ValueError as `tl.prompt` does.
        """
        changed: PromptFunction[P, T] = copy.copy(self)
        changed.llm = self.llm if llm is None else _checked_llm(llm)
        changed._sampling = {**self._sampling, **sampling}
        changed._form = self._form.resampled(changed._sampling)
        return changed

    def _turns(self, name: str, returned: object) -> list[Message]:
        """What the function returned, as turns. Raises TraceError for what is no prompt."""
        is_text = isinstance(returned, Value) or _says_something(returned)
        prompt = [Message("user", cast(str, returned))] if is_text else returned
        if not is_conversation(prompt):
            problem = (
                f"the prompt function {name}() returned {returned!r}; it must `return` the prompt "
                "text, or a list of tl.Message of which the last is the user's or begins the answer"
            )
            raise TraceError(problem, *user_frame())
        if self.system is None:
            return prompt
        if any(message.role == "system" for message in prompt):
            problem = f"{name}() has system= and returned a system message; leave one of them out"
            raise TraceError(problem, *user_frame())
        return [Message("system", self.system), *prompt]


class PromptMaker(Protocol[T]):
    """The decorator that `prompt(...)` gives."""

    def __call__(self, function: Callable[P, Prompt], /) -> PromptFunction[P, T]: ...


@overload
def prompt(
    llm: LLM,
    *,
    out: type[T],
    system: str | None = None,
    retries: int = 0,
    **sampling: Unpack[Sampling],
) -> PromptMaker[T]: ...
@overload
def prompt(
    llm: LLM,
    *,
    choices: Sequence[str] | None = None,
    regex: str | None = None,
    system: str | None = None,
    **sampling: Unpack[Sampling],
) -> PromptMaker[str]: ...
@overload
def prompt(
    llm: LLM,
    *,
    out: Any,  # what is no class: Literal["a", "b"], int | None, a JSON schema
    system: str | None = None,
    retries: int = 0,
    **sampling: Unpack[Sampling],
) -> PromptMaker[Any]: ...


def prompt(
    llm: LLM | None = None,
    *,
    out: Any = str,
    choices: Sequence[str] | None = None,
    regex: str | None = None,
    system: str | None = None,
    retries: int = 0,
    **sampling: Unpack[Sampling],
) -> Any:
    """Make a function that returns a prompt one call of `llm`.

    `out` is the type of the answer: a pydantic model (or list, int, bool ...) constrains decoding
    to its JSON schema and is validated. A dict is a JSON schema itself, and the answer then what
    JSON says: dicts, lists, texts, numbers. `choices` are texts of which one is written, `regex`
    a pattern that the whole answer matches.

    Temperature 0 is greedy. `top_p` 1 and `top_k` 0 are off. Without `max_tokens` there are enough
    for the longest answer, where the type bounds it (`Field(max_length=...)` of texts and lists,
    `ge` and `le` of numbers); else 256. With `retries` an answer that is not valid is followed by a
    turn that says why, and the model writes again, so many times at most; elements of a list are
    then used when all are valid. Raises TypeError and ValueError for what no model can be held to.
    """
    checked = _checked_llm(llm)
    if has_marks(system):
        raise TypeError("system= of @tl.prompt must be constant text")
    form = form_of(out, choices=choices, regex=regex, retries=retries, **sampling)
    return lambda function: PromptFunction(_checked(function), checked, system, form, sampling)


def _says_something(returned: object) -> bool:
    if is_t_string(returned):
        return any(not isinstance(part, str) or part.strip() for part, _ in parts_of(returned))
    return isinstance(returned, str) and bool(returned.strip())


def _checked_llm(llm: object) -> LLM:
    if not isinstance(llm, LLM):
        raise TypeError(f"@tl.prompt needs an LLM, not {no_llm(llm, '@tl.prompt')}")
    return llm


def _checked(function: Callable[P, Prompt]) -> Callable[P, Prompt]:
    """Raises DefinitionError for what cannot return a prompt."""
    function = function.__func__ if isinstance(function, staticmethod) else function
    written = written_function(function, "prompt")
    if is_coroutine_function(function) or written.__code__.co_flags & CO_GENERATOR:
        problem = f"the prompt function {name_of(function)}() must be a plain `def` that returns"
        raise DefinitionError(problem, *place_of_function(function))
    return function
