"""Prompt functions: a function that returns the prompt becomes one call of a language model.

The returned string is cut at its symbolic values into parts and holes and lowered to a prefill of
those parts, a decode, and, for a declared output type, a parse of the decoded text.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from frontend_dsl.components import LLM
from frontend_dsl.errors import TraceError
from frontend_dsl.schema import json_schema
from frontend_dsl.template import constants_of, pieces
from frontend_dsl.tracer import Tracer, tracing
from frontend_dsl.value import Value, has_marks, type_name
from frontend_dsl.where import user_frame
from graph_opt.graph import Json, Marker

P = ParamSpec("P")
T = TypeVar("T")

SPACE = Marker("sp")


class PromptFunction(Generic[P, T]):
    """One call of a language model, written as a function that returns the prompt."""

    def __init__(
        self,
        function: Callable[P, str],
        llm: LLM,
        out: Any,
        system: str | None,
        sampling: dict[str, Json],
    ) -> None:
        self.llm = llm
        self.out = out
        self.system = system
        self.sampling = sampling
        self._function = function
        self._constants = constants_of(function)
        self._schema = None if out is str else json_schema(out)
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        name = self._function.__name__
        tracer = tracing(f"the prompt function {name}()")
        with tracer.call(name):
            text = self._function(*args, **kwargs)
            return cast(T, self._lower(tracer, name, self._checked(name, text)))

    def _checked(self, name: str, text: object) -> str:
        if isinstance(text, Value):
            text = str(text)
        if isinstance(text, str) and text.strip():
            return text
        problem = f"the prompt function {name}() returned {text!r}; it must return the prompt text"
        raise TraceError(problem, *user_frame())

    def _lower(self, tracer: Tracer, name: str, text: str) -> Value:
        engine = tracer.symbols.engine(self.llm)
        on_llm: dict[str, Json] = {"engine": engine}
        context = tracer.emit("context", (), on_llm, f"{name}.empty", Any)
        if self.llm.adapter is not None:
            on_llm = {**on_llm, "adapter": self.llm.adapter}
        words = pieces(text, self._constants, tracer.given)
        parts = [Marker("user"), *prompt_parts(words), Marker("assistant")]
        if self.system is not None:
            parts = [Marker("system"), self.system, *parts]
        filled = tracer.emit("prefill", (context, *parts), on_llm, f"{name}.prompt", Any)
        attrs = {**on_llm, **self.sampling}
        if self._schema is None:
            hints, types = [name, f"{name}.context"], [str, Any]
            return tracer.emit_many("decode", (filled,), attrs, hints, types)[0]
        attrs["schema"] = self._schema
        hints, types = [f"{name}.json", f"{name}.context"], [str, Any]
        json_text = tracer.emit_many("decode", (filled,), attrs, hints, types)[0]
        type_symbol = tracer.symbols.value(type_name(self.out), self.out)
        return tracer.emit("parse", (json_text,), {"type": type_symbol}, name, self.out)


def prompt_parts(words: Iterable[str | Value]) -> list[Any]:
    """Texts, values and markers, as a prefill takes them.

    A space before a value belongs to the value: most vocabularies hold words with their space,
    and each part is tokenised by itself.
    """
    parts: list[Any] = []
    for piece in words:
        if isinstance(piece, Value) and parts and _ends_in_one_space(parts[-1]):
            head = parts.pop()[:-1]
            parts += [head, SPACE, piece] if head else [SPACE, piece]
        else:
            parts.append(piece)
    return parts


def _ends_in_one_space(part: Any) -> bool:
    return isinstance(part, str) and part.endswith(" ") and not part.endswith("  ")


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
) -> Callable[[Callable[P, str]], PromptFunction[P, str]]: ...
@overload
def prompt(
    llm: LLM,
    *,
    out: type[T],
    system: str | None = None,
    temperature: float = 0.0,
    max_tokens: int = 256,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: str | Sequence[str] = (),
    seed: int | None = None,
) -> Callable[[Callable[P, str]], PromptFunction[P, T]]: ...


@overload
def prompt(
    llm: LLM,
    *,
    out: Any,  # what is no class: Literal["a", "b"], int | None
    system: str | None = None,
    temperature: float = 0.0,
    max_tokens: int = 256,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: str | Sequence[str] = (),
    seed: int | None = None,
) -> Callable[[Callable[P, str]], PromptFunction[P, Any]]: ...


def prompt(
    llm: LLM,
    *,
    out: Any = str,
    system: str | None = None,
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
    """
    if not isinstance(llm, LLM):
        raise TypeError(f"@tl.prompt needs an LLM, not {llm!r}: write @tl.prompt(llm)")
    if has_marks(system):
        raise TypeError("system= of @tl.prompt must be constant text")
    sampling = _sampling(temperature, max_tokens, top_p, top_k, stop, seed)
    return lambda function: PromptFunction(function, llm, out, system, sampling)


def _sampling(
    temperature: float,
    max_tokens: int,
    top_p: float,
    top_k: int,
    stop: str | Sequence[str],
    seed: int | None,
) -> dict[str, Json]:
    """The attrs of a decode; what is off is left out."""
    if temperature < 0 or max_tokens < 1 or not 0 < top_p <= 1 or top_k < 0:
        raise ValueError(
            "need temperature >= 0, max_tokens >= 1, 0 < top_p <= 1 and top_k >= 0; got "
            f"{temperature=} {max_tokens=} {top_p=} {top_k=}"
        )
    attrs: dict[str, Json] = {"max_tokens": max_tokens}
    if temperature:
        attrs |= {"temperature": temperature}
        attrs |= {"top_p": top_p} if top_p < 1 else {}
        attrs |= {"top_k": top_k} if top_k else {}
        attrs |= {"seed": seed} if seed is not None else {}
    if stop:
        attrs["stop"] = [stop] if isinstance(stop, str) else list(stop)
    return attrs
