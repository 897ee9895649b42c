"""What a semantic function writes: how, of which type, and what is made of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Unpack, get_args, get_origin

from frontend_dsl.declared_types import is_union
from frontend_dsl.forms import Form, form_of
from frontend_dsl.sampling import Sampling
from frontend_dsl.semantic_variable import Variable
from frontend_dsl.text_transforms import Transform, as_transform
from frontend_dsl.type_hints import field_hints


class Output:
    """How an output is written, and what is made of it.

    `out` is the type that the model writes, by default that of the variable, or a text if something
    is made of it: `transform` is one of `tl.transforms`, a function, or several in their order. The
    others are those of `tl.prompt`.
    """

    def __init__(
        self,
        out: Any = None,
        *,
        transform: Transform | Callable[..., Any] | Sequence[Transform | Callable[..., Any]] = (),
        choices: Sequence[str] | None = None,
        regex: str | None = None,
        **sampling: Unpack[Sampling],
    ) -> None:
        steps = transform if isinstance(transform, (list, tuple)) else [transform]
        self.out = out
        self.transforms = tuple(map(as_transform, steps))
        self.choices, self.regex, self.sampling = choices, regex, sampling


class Outputs:
    """The outputs of a call: declare a subclass with a `tl.Variable[...]` for each.

    `Annotated[tl.Variable[str], tl.Output(max_tokens=20)]` says how one is written.
    """

    def __init__(self, variables: Mapping[str, Variable[Any]]) -> None:
        vars(self).update(variables)

    def __getitem__(self, name: str) -> Variable[Any]:
        found: Variable[Any] = vars(self)[name]
        return found

    def __iter__(self) -> Iterator[Variable[Any]]:
        return iter(vars(self).values())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(vars(self))})"


class AnyOutputs(Outputs):
    """The outputs of a template that no class declares."""

    def __getattr__(self, name: str) -> Variable[Any]:
        raise AttributeError(f"there is no output {name!r}; there are {', '.join(vars(self))}")


@dataclass(frozen=True, slots=True)
class Written:
    """One output of a function: how it is written, and the type of the variable."""

    type: Any
    form: Form
    transforms: tuple[Transform, ...]
    own: Sampling  # what this output says itself

    def transformed(self, value: Any) -> Any:
        """What is made of a text or value that was written."""
        for number, transform in enumerate(self.transforms, 1):
            is_last = number == len(self.transforms)
            value = transform(value, self.type if is_last else Any)
        if value._type is Any:
            value._type = self.type
        return value

    def using(self, sampling: Sampling) -> "Written":
        """The same with other sampling, where the output does not say its own."""
        return replace(self, form=self.form.resampled({**sampling, **self.own}))


def written_as(declared: Any, output: Output, sampling: Sampling) -> Written:
    """Raises TypeError and ValueError for what no model can be held to."""
    written = output.out
    if written is None:
        is_text = output.transforms or output.choices is not None or output.regex is not None
        written = str if is_text or declared is None else declared
    both: Sampling = {**sampling, **output.sampling}
    form = form_of(written, choices=output.choices, regex=output.regex, **both)
    type_ = declared if declared is not None else Any if output.transforms else form.out
    return Written(type_, form, output.transforms, output.sampling)


def declared_outputs(hints: Mapping[str, Any]) -> dict[str, tuple[Any, Output]]:
    """The fields or parameters that are variables: the type of each, and how it is written."""
    found: dict[str, tuple[Any, Output]] = {}
    for name, hint in hints.items():
        output = next((one for one in get_args(hint) if isinstance(one, Output)), Output())
        inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        arms = [arm for arm in get_args(inner) if arm is not type(None)] if is_union(inner) else []
        only = inner if not arms else arms[0] if len(arms) == 1 else None
        if only is Variable or get_origin(only) is Variable:
            found[name] = (next(iter(get_args(only)), str), output)
    return found


def fields_of(out: type[Outputs]) -> dict[str, tuple[Any, Output]]:
    """What a subclass of Outputs declares. Raises TypeError for a field that is no variable."""
    hints = field_hints(out, extras=True)
    found = declared_outputs(hints)
    for name in hints:
        if name not in found:
            raise TypeError(f"{out.__name__}.{name} must be declared as a tl.Variable[...]")
    return found
