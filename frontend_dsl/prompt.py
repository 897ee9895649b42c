"""Prompt functions: a function that returns the prompt becomes one call of a language model.

The returned text, or list of messages, is cut at its symbolic values into parts and holes and
lowered to a prefill of those parts, a decode, and, for a declared output type, a parse of the text.
"""

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from frontend_dsl.components import LLM
from frontend_dsl.errors import TraceError
from frontend_dsl.messages import Message, is_conversation, turn_parts
from frontend_dsl.source_check import check_source, kinds_of, named
from frontend_dsl.template import constants_of
from frontend_dsl.tracer import tracing
from frontend_dsl.value import Value, has_marks
from frontend_dsl.where import user_frame
from frontend_dsl.writing import Form, sampling_attrs, schema_of, write
from graph_opt.graph import Json

P = ParamSpec("P")
T = TypeVar("T")


class PromptFunction(Generic[P, T]):
    """One call of a language model, written as a function that returns the prompt."""

    def __init__(
        self,
        function: Callable[P, str | list[Message]],
        llm: LLM,
        out: Any,
        system: str | None,
        sampling: dict[str, Json],
        retries: int = 0,
    ) -> None:
        self.llm = llm
        self.out = out
        self.system = system
        self.sampling = sampling
        self.retries = retries
        self._function = function
        self._constants = (*constants_of(function), *([system] if system else []))
        self._schema = schema_of(out)
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        name = self._function.__name__
        tracer = tracing(f"the prompt function {name}()")
        with tracer.call(name):
            check_source(self._function, kinds_of(named(self._function, args, kwargs)))
            turns = self._turns(name, self._function(*args, **kwargs))
            parts = turn_parts(turns, self._constants, tracer.given)
            form = Form(self.out, self._schema, self.sampling, self.retries)
            return cast(T, write(tracer, name, self.llm, None, parts, form).result)

    def _turns(self, name: str, returned: object) -> list[Message]:
        """What the function returned, as turns. Raises TraceError for what is no prompt."""
        is_text = isinstance(returned, Value) or (isinstance(returned, str) and returned.strip())
        prompt = [Message("user", cast(str, returned))] if is_text else returned
        if not is_conversation(prompt):
            problem = (
                f"the prompt function {name}() returned {returned!r}; it must return the prompt "
                "text, or a list of tl.Message of which the last is the user's or begins the answer"
            )
            raise TraceError(problem, *user_frame())
        if self.system is None:
            return prompt
        if any(message.role == "system" for message in prompt):
            problem = f"{name}() has system= and returned a system message; leave one of them out"
            raise TraceError(problem, *user_frame())
        return [Message("system", self.system), *prompt]


@overload
def prompt(
    llm: LLM,
    *,
    system: str | None = None,
    temperature: float = 0.0,
    max_tokens: int = 256,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: str | Sequence[str] = (),
    seed: int | None = None,
) -> Callable[[Callable[P, str | list[Message]]], PromptFunction[P, str]]: ...
@overload
def prompt(
    llm: LLM,
    *,
    out: type[T],
    system: str | None = None,
    retries: int = 0,
    temperature: float = 0.0,
    max_tokens: int = 256,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: str | Sequence[str] = (),
    seed: int | None = None,
) -> Callable[[Callable[P, str | list[Message]]], PromptFunction[P, T]]: ...


@overload
def prompt(
    llm: LLM,
    *,
    out: Any,  # what is no class: Literal["a", "b"], int | None
    system: str | None = None,
    retries: int = 0,
    temperature: float = 0.0,
    max_tokens: int = 256,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: str | Sequence[str] = (),
    seed: int | None = None,
) -> Callable[[Callable[P, str | list[Message]]], PromptFunction[P, Any]]: ...


def prompt(
    llm: LLM,
    *,
    out: Any = str,
    system: str | None = None,
    retries: int = 0,
    temperature: float = 0.0,
    max_tokens: int = 256,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: str | Sequence[str] = (),
    seed: int | None = None,
) -> Any:
    """Make a function that returns a prompt one call of `llm`.

    `out` is the type of the answer: a pydantic model (or list, int, bool ...) constrains decoding
    to its JSON schema and is validated. Temperature 0 is greedy. `top_p` 1 and `top_k` 0 are off.
    With `retries` an answer that is not valid is followed by a turn that says why, and the model
    writes again, so many times at most; elements of a list are then used when all are valid.
    """
    if not isinstance(llm, LLM):
        raise TypeError(f"@tl.prompt needs an LLM, not {llm!r}: write @tl.prompt(llm)")
    if has_marks(system):
        raise TypeError("system= of @tl.prompt must be constant text")
    _check_retries(retries, out)
    sampling = sampling_attrs(temperature, max_tokens, top_p, top_k, stop, seed)
    return lambda function: PromptFunction(function, llm, out, system, sampling, retries)


def _check_retries(retries: int, out: Any) -> None:
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(
            f"retries= of @tl.prompt must be a whole number, 0 or more; got {retries!r}"
        )
    if retries and out is str:
        raise TypeError("retries= of @tl.prompt needs out=: a text cannot be invalid")
