"""Which call a tool's message answers: engines take answers in the order of the calls, clients name
the calls by their ids."""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from backends.base import ToolCall
from teola.serving.api_errors import invalid


class Said(Protocol):
    """A message, as far as calls go."""

    @property
    def role(self) -> str: ...

    @property
    def calls(self) -> tuple[ToolCall, ...]: ...

    @property
    def tool_call_id(self) -> str | None: ...


SaidT = TypeVar("SaidT", bound=Said)


def in_order_of_calls(messages: Sequence[SaidT]) -> Iterator[SaidT]:
    """The messages, answers to the calls of one turn in the order of the calls. Raises ApiError
    for an answer to no call and for a call without an answer."""
    at = 0
    while at < len(messages):
        if messages[at].role == "tool":
            raise _answers_nothing(at, messages[at])
        yield messages[at]
        num_answers = _num_answers(messages, at + 1)
        answers = {at + 1 + number: messages[at + 1 + number] for number in range(num_answers)}
        for call in messages[at].calls:
            yield answers.pop(_answer_to(call, answers, at))
        if answers:
            raise _answers_nothing(*next(iter(answers.items())))
        at += 1 + num_answers


def _num_answers(messages: Sequence[Said], start: int) -> int:
    end = start
    while end < len(messages) and messages[end].role == "tool":
        end += 1
    return end - start


def _answer_to(call: ToolCall, answers: dict[int, SaidT], at: int) -> int:
    """The place of the answer among all messages."""
    for place, message in answers.items():
        if message.tool_call_id == call.id:
            return place
    raise invalid(
        f"messages.{at}.tool_calls",
        f"the call {call.id!r} of {call.name!r} has no answer: behind the message with calls each "
        "needs one message with role 'tool' and its tool_call_id",
    )


def _answers_nothing(place: int, message: Said) -> Exception:
    return invalid(
        f"messages.{place}.tool_call_id",
        f"there is no call {message.tool_call_id!r} in the assistant's message before this one",
    )
