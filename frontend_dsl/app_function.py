"""The function behind an app: its name, parameters and place, and the object of a method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

from frontend_dsl.callables import (
    check_form,
    is_coroutine_function,
    name_of,
    place_of_function,
    takes_receiver,
    variables_of,
)
from frontend_dsl.signature import AppParameter, ArgumentError, BoundArguments, app_parameters, bind


@dataclass(frozen=True, slots=True)
class AppFunction:
    """What an app calls to be traced. A method is bound to its object, which is constant."""

    call: Callable[..., Any]
    name: str
    is_async: bool
    is_method: bool  # and not yet bound
    parameters: tuple[AppParameter, ...]
    place: tuple[str, int]
    receiver: Any = None  # of a bound method
    module: Mapping[str, Any] | None = None  # the variables of its module, where it is not ours

    @classmethod
    def of(cls, call: Callable[..., Any]) -> "AppFunction":
        """Raises DefinitionError for what cannot be an app."""
        call = call.__func__ if isinstance(call, staticmethod) else call
        check_form(call)
        return cls(
            call=call,
            name=name_of(call),
            is_async=is_coroutine_function(call),
            is_method=takes_receiver(call),
            parameters=app_parameters(call, skip_first=takes_receiver(call)),
            place=place_of_function(call),
        )

    def bound_to(self, receiver: Any) -> "AppFunction":
        """The method of one object."""
        call = MethodType(self.call, receiver)
        return replace(self, call=call, is_method=False, receiver=receiver)

    def with_receiver_of(self, args: tuple[Any, ...]) -> tuple["AppFunction", tuple[Any, ...]]:
        """The function bound, and the other arguments, for a call that may name its object first.

        Raises ArgumentError for a method without an object.
        """
        if not self.is_method:
            return self, args
        if not args:
            raise ArgumentError(f"{self.name}() is a method: call it on an object")
        return self.bound_to(args[0]), args[1:]

    def key(self, static: Mapping[str, Any]) -> str:
        """Equal for calls that trace to the same program, as long as the receiver lives."""
        arguments = repr(sorted(static.items(), key=lambda item: item[0]))
        return arguments if self.receiver is None else f"{id(self.receiver)}: {arguments}"

    def bound_partly(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> BoundArguments:
        """Of a call in which symbolic arguments may be missing: any value stands for them."""
        names = [parameter.name for parameter in self.parameters[: len(args)]]
        given = {**dict(zip(names, args, strict=True)), **kwargs}
        missing = {p.name for p in self.parameters if not p.is_static and p.name not in given}
        rest = tuple(p for p in self.parameters if p.name not in missing)
        bound = bind(self.name, rest, (), given).lifted()
        return BoundArguments(bound.static, {**bound.symbolic, **dict.fromkeys(missing)})

    @property
    def variables(self) -> Mapping[str, Any]:
        """Of its module."""
        return variables_of(self.call) if self.module is None else self.module
