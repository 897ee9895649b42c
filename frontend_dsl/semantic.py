"""`tl.semantic`: makes a template with inputs and outputs a function that a model fills."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import update_wrapper
from inspect import Parameter, Signature
from typing import (
    Any,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    Unpack,
    overload,
)

from frontend_dsl.ask import check_llm
from frontend_dsl.callables import name_of, place_of_function, takes_receiver, written_function
from frontend_dsl.components import LLM
from frontend_dsl.errors import DefinitionError
from frontend_dsl.sampling import Sampling
from frontend_dsl.semantic_function import SemanticFunction
from frontend_dsl.semantic_outputs import (
    AnyOutputs,
    Output,
    Outputs,
    Written,
    declared_outputs,
    fields_of,
    written_as,
)
from frontend_dsl.semantic_template import Hole, Template, parse_template
from frontend_dsl.semantic_variable import Variable
from frontend_dsl.type_hints import hints_of
from frontend_dsl.where import user_frame

P = ParamSpec("P")
T = TypeVar("T", covariant=True)
U = TypeVar("U")
SomeOutputs = TypeVar("SomeOutputs", bound=Outputs)

Declared = Mapping[str, tuple[Any, Output]]  # type of each output, and how it is written
Result = Callable[[Mapping[str, Variable[Any]]], Any]  # variables -> what a call gives
Input: TypeAlias = U | Variable[U]  # what a parameter takes where it says U


class SemanticMaker(Protocol[T]):
    """The decorator that `semantic(llm)` gives."""

    def __call__(self, function: Callable[P, None], /) -> SemanticFunction[P, T]: ...


@overload
def semantic(  # type: ignore[overload-overlap]  # a class of outputs gives itself
    llm: LLM,
    template: str,
    *,
    out: type[SomeOutputs],
    name: str | None = None,
    system: str | None = None,
    chat: bool = True,
    **sampling: Unpack[Sampling],
) -> SemanticFunction[..., SomeOutputs]: ...
@overload
def semantic(
    llm: LLM,
    template: str,
    *,
    out: type[U],
    outputs: Mapping[str, Output] | None = None,
    name: str | None = None,
    system: str | None = None,
    chat: bool = True,
    **sampling: Unpack[Sampling],
) -> SemanticFunction[..., Variable[U]]: ...
@overload
def semantic(
    llm: LLM,
    template: str,
    *,
    outputs: Mapping[str, Output] | None = None,
    name: str | None = None,
    system: str | None = None,
    chat: bool = True,
    **sampling: Unpack[Sampling],
) -> SemanticFunction[..., Any]: ...
@overload
def semantic(  # type: ignore[overload-overlap]  # a class of outputs gives itself
    llm: LLM,
    *,
    out: type[SomeOutputs],
    system: str | None = None,
    chat: bool = True,
    **sampling: Unpack[Sampling],
) -> SemanticMaker[SomeOutputs]: ...
@overload
def semantic(
    llm: LLM,
    *,
    out: type[U],
    outputs: Mapping[str, Output] | None = None,
    system: str | None = None,
    chat: bool = True,
    **sampling: Unpack[Sampling],
) -> SemanticMaker[Variable[U]]: ...
@overload
def semantic(
    llm: LLM,
    *,
    outputs: Mapping[str, Output] | None = None,
    system: str | None = None,
    chat: bool = True,
    **sampling: Unpack[Sampling],
) -> SemanticMaker[Variable[str]]: ...


def semantic(
    llm: LLM,
    template: str | None = None,
    *,
    out: Any = None,
    outputs: Mapping[str, Output] | None = None,
    name: str | None = None,
    system: str | None = None,
    chat: bool = True,
    **sampling: Unpack[Sampling],
) -> Any:
    """A function that `llm` fills: `tl.semantic(llm, "Shorten {{input:text}} {{output:short}}")`.

    As a decorator, `@tl.semantic(llm)`, of a function without a body, whose docstring is the
    template and whose parameters are the inputs. A call gives the variable that is filled; with
    several outputs an object with a variable for each: `out=` is then the class that declares them,
    a `tl.Outputs`. Of one output, `out=` is its type. A parameter that an output is called like
    takes the `tl.variable()` to fill.

    What stands before an output is said by the user, and the output is the model's turn; with
    `chat=False` the template is one text without turns. `outputs=` and `Annotated[...,
    tl.Output(...)]` say how each output is written and what is made of it; sampling given here
    holds for those that do not say. Outside of an app a call runs at once.
    """
    check_llm("tl.semantic", llm)
    if system is not None and not chat:
        raise TypeError("system= needs turns: leave chat=False out, or write it in the template")
    asked = _Asked(llm, out, outputs or {}, system, chat, sampling)
    return asked.of_function if template is None else asked.of_template(template, name)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is said of a semantic function beside its template."""

    llm: LLM
    out: Any
    outputs: Mapping[str, Output]
    system: str | None
    is_chat: bool
    sampling: Sampling

    def of_template(self, text: str, name: str | None) -> SemanticFunction[..., Any]:
        """Called like its outputs, if it has no name. Raises DefinitionError for a template that
        cannot be filled."""
        with _defining(name or "template", user_frame()):
            template = self._parsed(text, ())
            name = name or "_".join(template.outputs)
            outputs = self._outputs(template, {})
            result = self._result(template) or AnyOutputs
            return self._made(name, template, _signature_of(template), outputs, result)

    def of_function(self, function: Callable[..., None]) -> SemanticFunction[..., Any]:
        """Raises DefinitionError for a function that is no template."""
        with _defining(name_of(function), place_of_function(function)):
            text, signature = _docstring(function), _signature(function)
            declared = declared_outputs(_hints_of(function, signature))
            template = self._parsed(text, declared)
            _check_parameters(signature, template)
            outputs, result = self._outputs(template, declared), self._result(template)
            if result is None:
                raise ValueError(
                    f"it has several outputs ({', '.join(template.outputs)}): declare them in a "
                    "subclass of tl.Outputs, and give it as out="
                )
            made = self._made(name_of(function), template, signature, outputs, result)
        update_wrapper(made, function, updated=())
        return made

    @property
    def _class(self) -> type[Outputs] | None:
        is_class = isinstance(self.out, type) and issubclass(self.out, Outputs)
        return self.out if is_class else None

    @property
    def _fields(self) -> Declared:
        return {} if self._class is None else fields_of(self._class)

    def _parsed(self, text: str, declared: Collection[str]) -> Template:
        template = parse_template(text, [*declared, *self._fields, *self.outputs])
        for step in template.steps if self.is_chat else ():
            if not any(isinstance(piece, Hole) or piece.strip() for piece in step.reads):
                raise ValueError(
                    f"nothing stands before the output {step.writes!r}: say what to write, or "
                    "give chat=False for a text without turns"
                )
        return template

    def _outputs(self, template: Template, declared: Declared) -> dict[str, Written]:
        """How each output is written."""
        known = {**declared, **self._fields}
        for name in (*known, *self.outputs):
            if name not in template.outputs:
                raise ValueError(f"it has no output {name!r}; it writes {template.outputs}")
        return {name: self._output(name, known) for name in template.outputs}

    def _output(self, name: str, known: Declared) -> Written:
        type_, output = known.get(name, (None, Output()))
        if self.out is not None and self._class is None:
            type_ = self.out
        return written_as(type_, self.outputs.get(name, output), self.sampling)

    def _result(self, template: Template) -> Result | None:
        """What a call gives; None for several outputs that no class declares."""
        if self._class is Outputs:
            return AnyOutputs
        if self._class is not None:
            missing = [name for name in template.outputs if name not in self._fields]
            if missing:
                raise ValueError(f"{self._class.__name__} does not declare {missing[0]!r}")
            return self._class
        return _only if len(template.outputs) == 1 else None

    def _made(
        self,
        name: str,
        template: Template,
        signature: Signature,
        outputs: Mapping[str, Written],
        result: Result,
    ) -> SemanticFunction[..., Any]:
        return SemanticFunction(
            name,
            self.llm,
            template,
            signature,
            outputs,
            result,
            system=self.system,
            is_chat=self.is_chat,
        )


@contextmanager
def _defining(name: str, place: tuple[str, int]) -> Iterator[None]:
    try:
        yield
    except DefinitionError:
        raise
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"the semantic function {name}(): {error}", *place) from None


def _only(outputs: Mapping[str, Variable[Any]]) -> Variable[Any]:
    (variable,) = outputs.values()
    return variable


def _docstring(function: Callable[..., None]) -> str:
    """Raises TypeError for a function that has none, or does more than have it."""
    written = written_function(function, "semantic")
    text = inspect.getdoc(written)
    if not text:
        raise TypeError("its docstring is the template, and it has none")
    constants = [one for one in written.__code__.co_consts if one not in (None, written.__doc__)]
    if constants or written.__code__.co_names:
        raise TypeError("its body never runs: leave only the docstring, or use @tl.prompt")
    return text


def _signature(function: Callable[..., None]) -> Signature:
    """Of a method, without the object."""
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    return signature.replace(parameters=parameters[1:] if takes_receiver(function) else parameters)


def _signature_of(template: Template) -> Signature:
    kind = Parameter.POSITIONAL_OR_KEYWORD
    inputs = [Parameter(name, kind) for name in template.inputs]
    outputs = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None)
        for name in template.outputs
        if name not in template.inputs
    ]
    return Signature([*inputs, *outputs])


def _hints_of(function: Callable[..., None], signature: Signature) -> dict[str, Any]:
    """The types of the parameters, as far as their names can be found."""
    try:
        hints = hints_of(written_function(function), extras=True)
    except NameError:  # of a class that is local to a function
        hints = {name: each.annotation for name, each in signature.parameters.items()}
    return {name: hint for name, hint in hints.items() if name in signature.parameters}


def _check_parameters(signature: Signature, template: Template) -> None:
    known = (*template.inputs, *template.outputs)
    for name in signature.parameters:
        if name not in known:
            raise TypeError(f"its parameter {name!r} does not stand in the template")
    for name in template.inputs:
        if name not in signature.parameters:
            raise TypeError(f"it reads {name!r}, which is no parameter")
