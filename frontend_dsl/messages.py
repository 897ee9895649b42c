"""Messages: the turns of a conversation, and how they stand in a prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, get_args

from frontend_dsl.template import TString, is_t_string, pieces
from frontend_dsl.value import Value
from frontend_dsl.writing import prompt_parts
from graph_opt.graph import Marker

Role = Literal["system", "user", "assistant"]
ROLES = get_args(Role)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. Raises ValueError for a role that no chat template has."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            known = ", ".join(map(repr, ROLES))
            raise ValueError(f"a message has the role {known}, not {self.role!r}")


def turn_parts(
    messages: Sequence[Message],
    constants: tuple[str, ...],
    given: Callable[[str], Value | None],
) -> list[Any]:
    """The parts of a prefill after which the model writes: a last assistant turn stays open, so
    that the model goes on with it."""
    parts: list[Any] = []
    for message in messages:
        parts += [
            Marker(message.role),
            *prompt_parts(pieces(_text_of(message.content), constants, given)),
        ]
    is_open = bool(messages) and messages[-1].role == "assistant"
    return parts if is_open else [*parts, Marker("assistant")]


def _text_of(content: object) -> str | TString:
    return content if is_t_string(content) else str(content)


def is_conversation(value: object) -> TypeGuard[list[Message]]:
    """Whether this is a list of messages that a model can answer."""
    if not isinstance(value, (list, tuple)) or not value:
        return False
    return all(isinstance(item, Message) for item in value) and value[-1].role != "system"
