"""What a program keeps under a name: the text that the model wrote, and the value that it says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import GenericAlias
from typing import Any, get_args, get_origin

from frontend_dsl.declared_types import type_name
from frontend_dsl.errors import TraceError
from frontend_dsl.tracer import tracing
from frontend_dsl.where import user_frame


@dataclass(frozen=True, slots=True)
class Variable:
    """One that the model wrote."""

    name: str
    text: Any
    value: Any  # of the type; the text if that is str
    type: Any
    scores: Any = None  # of a select: a list, one a choice

    def value_as(self, type_: Any) -> Any:
        """The value, of the type that is wanted; None: of its own."""
        if type_ is None or type_ == self.type:
            return self.value
        if type_ is str:
            return self.text
        if self.type is not str:
            problem = (
                f's.get("{self.name}") is of the type {type_name(self.type)}, which its tl.gen '
                f"says, not {type_name(type_)}"
            )
            raise TraceError(problem, *user_frame())
        return _read(self.name, self.text, type_)


@dataclass(frozen=True, slots=True)
class Gathered(Variable):
    """The variables of that name of forks that were joined."""

    each: tuple[Variable, ...] = ()

    def value_as(self, type_: Any) -> Any:
        if type_ is None or type_ is list:
            return self.value
        if get_origin(type_) is not list:
            problem = (
                f's["{self.name}"] is a list, one item a fork: write '
                f's.get("{self.name}", list[{type_name(type_)}])'
            )
            raise TraceError(problem, *user_frame())
        return [variable.value_as(get_args(type_)[0]) for variable in self.each]


def gathered(
    forks: Sequence[Mapping[str, Variable]], known: Mapping[str, Variable]
) -> dict[str, Variable]:
    """What forks made, by name. Raises TraceError for a name that is known already."""
    names = dict.fromkeys(name for variables in forks for name in variables)
    found: dict[str, Variable] = {}
    for name in names:
        each = [variables[name] for variables in forks if name in variables]
        if name in known and any(one is not known[name] for one in each):
            problem = f's["{name}"] is there already, and forks have one too: rename one of them'
            raise TraceError(problem, *user_frame())
        if name not in known:
            found[name] = _gather(name, each)
    return found


def _gather(name: str, each: Sequence[Variable]) -> Gathered:
    type_ = GenericAlias(list, (each[0].type,))
    texts, values = [one.text for one in each], [one.value for one in each]
    return Gathered(name, texts, values, type_, each=tuple(each))


def _read(name: str, text: Any, type_: Any) -> Any:
    """A value read from a text as JSON of a type."""
    tracer = tracing(f's.get("{name}")')
    with tracer.call(f"get_{name}"):
        symbol = tracer.symbols.value(type_name(type_), type_)
        attrs = {"type": symbol, **tracer.items_attr(symbol, ())}
        return tracer.emit("parse", (text,), attrs, f"{name}.value", type_)
