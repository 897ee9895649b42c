"""Calls of semantic functions: templates whose outputs a model fills in turn, in one context.

A call gives its outputs at once, as variables. It may be made before its inputs are there; it is
emitted when what fills them is called.
"""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, cast

from frontend_dsl.ask import check_llm
from frontend_dsl.components import LLM
from frontend_dsl.errors import TraceError, VariableError
from frontend_dsl.late_calls import LateCall, late_in
from frontend_dsl.outside import compute
from frontend_dsl.sampling import Sampling
from frontend_dsl.semantic_outputs import Written
from frontend_dsl.semantic_template import Hole, Step, Template
from frontend_dsl.semantic_variable import Variable
from frontend_dsl.template import pieces
from frontend_dsl.tracer import Tracer, current, tracing
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame
from frontend_dsl.writing import prompt_parts, write
from graph_opt.graph import Marker

P = ParamSpec("P")
T = TypeVar("T", covariant=True)


class SemanticFunction(Generic[P, T]):
    """A template that a language model fills; calls give variables."""

    def __init__(
        self,
        name: str,
        llm: LLM,
        template: Template,
        signature: inspect.Signature,
        written: Mapping[str, Written],
        result: Callable[[Mapping[str, Variable[Any]]], Any],
        *,
        system: str | None,
        is_chat: bool,
    ) -> None:
        self.name = self.__name__ = name
        self.llm = llm
        self.__wrapped__: Any = _template_call  # its code is searched for nothing
        self._template, self._signature = template, signature
        self._written, self._result = written, result
        self._system, self._is_chat = system, is_chat

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        place = user_frame()
        given = self._bound(args, kwargs)
        inputs = {name: given[name] for name in self._template.inputs}
        outputs = {name: self._variable(name, given.get(name), place) for name in self._written}
        if current() is None:
            self._compute(inputs, outputs)
            return cast(T, self._result(outputs))
        fill = partial(self._emit, inputs, outputs, place)
        tracing(self.name).late_calls.call(
            LateCall(self.name, place, [*late_in(inputs)], [*outputs.values()], fill)
        )
        return cast(T, self._result(outputs))

    def using(
        self, *, llm: LLM | None = None, **sampling: Unpack[Sampling]
    ) -> "SemanticFunction[P, T]":
        """The same template filled another way: `tell.using(temperature=0.7)(topic)`.

        Outputs that say how they are written keep that.
        """
        changed: SemanticFunction[P, T] = copy.copy(self)
        if llm is not None:
            check_llm("using()", llm)
            changed.llm = llm
        changed._written = {name: each.using(sampling) for name, each in self._written.items()}
        return changed

    def __get__(self, instance: Any, owner: type | None = None) -> "SemanticFunction[..., T]":
        """Of a method: the template, in which nothing of the object stands."""
        return self

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            problem = f"{self.name}{self._signature} cannot be called so: {error}"
            raise TraceError(problem, *user_frame()) from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def _variable(self, name: str, given: Any, place: tuple[str, int]) -> Variable[Any]:
        if given is None:
            return Variable(self._written[name].type, self._hint(name), place)
        if not isinstance(given, Variable):
            problem = f"{name}= of {self.name}() takes a tl.variable() to fill, not {given!r}"
            raise TraceError(problem, *user_frame())
        given._check_empty()
        return given

    def _hint(self, output: str) -> str:
        return self.name if len(self._written) == 1 else output

    def _compute(self, inputs: Mapping[str, Any], outputs: Mapping[str, Variable[Any]]) -> None:
        """Outside of an app a call is a small program, run at once."""
        for late in late_in(inputs):
            problem = (
                f"{self.name}() is called outside of an app, where it cannot wait for variable "
                f"{late._name!r}: fill that first, or make the calls in a @tl.app"
            )
            raise VariableError(problem, *user_frame())

        def call() -> list[Any]:
            place = user_frame()
            made = {name: self._variable(name, None, place) for name in outputs}
            self._emit(inputs, made, place)
            return list(made.values())

        for variable, value in zip(outputs.values(), compute(self.name, call), strict=True):
            variable.set(value)

    def _emit(
        self,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Variable[Any]],
        place: tuple[str, int],
    ) -> None:
        tracer = tracing(self.name)
        with tracer.call(self.name, place):
            values, context = dict(inputs), None
            for step in self._template.steps:
                written, name = self._written[step.writes], self._hint(step.writes)
                parts = self._parts(tracer, step, values, is_first=context is None)
                turn = write(tracer, name, self.llm, context, parts, written.form)
                outputs[step.writes]._fill(written.transformed(turn.result))
                values[step.writes], context = outputs[step.writes], turn.context

    def _parts(
        self, tracer: Tracer, step: Step, values: Mapping[str, Any], *, is_first: bool
    ) -> list[Any]:
        reads = _stripped(step) if self._is_chat else step.reads
        words = prompt_parts(_joined(_words(tracer, reads, values)))
        if not self._is_chat:
            return words
        system = [Marker("system"), self._system] if self._system and is_first else []
        return [*system, Marker("user"), *words, Marker("assistant")]


def _words(
    tracer: Tracer, reads: Sequence[str | Hole], values: Mapping[str, Any]
) -> Iterator[str | Value]:
    """The words of a template, and what is put between them."""
    for piece in reads:
        if isinstance(piece, str):
            yield piece
            continue
        value = values[piece.name]
        if isinstance(value, Value) and not (isinstance(value, Variable) and value._content):
            yield value
        else:
            yield from pieces(f"{value}", (), tracer.given)


def _joined(words: Iterator[str | Value]) -> Iterator[str | Value]:
    """The same, texts that follow each other as one."""
    for is_text, group in groupby(words, lambda word: isinstance(word, str)):
        if is_text:
            yield "".join(cast(Iterator[str], group))
        else:
            yield from group


def _stripped(step: Step) -> tuple[str | Hole, ...]:
    """What the user says in a turn, without white space at its ends."""
    reads = list(step.reads)
    if reads and isinstance(reads[0], str):
        reads[0] = reads[0].lstrip()
    if reads and isinstance(reads[-1], str):
        reads[-1] = reads[-1].rstrip()
    return tuple(piece for piece in reads if piece)


def _template_call() -> None:
    """What stands for the code of a template."""
