"""What the objects of a class hold, and how they are made again without running its code."""

from collections.abc import Iterator, Sequence
from types import BuiltinFunctionType, MemberDescriptorType
from typing import Any


def state_of(value: Any) -> dict[str, Any]:
    """The fields of an object that its class did not take from what made it."""
    state = {**dict(_slots_of(value)), **getattr(value, "__dict__", {})}
    state = {key: item for key, item in state.items() if key[:2] != "__" or key == "__notes__"}
    if isinstance(value, (ImportError, NameError, AttributeError)):
        state |= {key: getattr(value, key) for key in ("name", "path") if hasattr(value, key)}
    return state


def _slots_of(value: Any) -> Iterator[tuple[str, Any]]:
    for kind in type(value).__mro__:
        if kind.__dict__.get("__slots__"):
            for name, member in kind.__dict__.items():
                if isinstance(member, MemberDescriptorType) and hasattr(value, name):
                    yield name, getattr(value, name)


def is_all_state(kind: type) -> bool:
    """Whether its objects hold nothing else: no items of a dict, say."""
    made_by = next(each for each in kind.__mro__ if isinstance(_new_of(each), BuiltinFunctionType))
    return made_by is object


def _new_of(kind: type) -> Any:
    return kind.__dict__.get("__new__")


def given_to(error: BaseException) -> tuple[Any, ...]:
    """What the built-in class behind an exception is made of again: a file's name too."""
    given: tuple[Any, ...] = _built_in(type(error)).__reduce__(error)[1]  # type: ignore[assignment]
    return given


def made_error(kind: type[BaseException], given: Sequence[Any]) -> BaseException:
    """An exception as its built-in class makes it, without running code of a user's."""
    built_in = _built_in(kind)
    error: BaseException = built_in.__new__(kind, *given)
    built_in.__init__(error, *given)
    return error


def _built_in(kind: type[BaseException]) -> type[BaseException]:
    return next(each for each in kind.__mro__ if each.__module__ == "builtins")


def said_by(error: BaseException) -> str:
    """Its type and text; the type alone where its class cannot say more."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
