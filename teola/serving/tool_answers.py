"""Which call a tool's message answers: engines take answers in the order of the calls, clients name
the calls by their ids."""

from collections.abc import Iterator, Mapping, Sequence
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
        places: dict[str | None, list[int]] = {}  # of the answers, by their calls, the last first
        for place in range(at + num_answers, at, -1):
            places.setdefault(messages[place].tool_call_id, []).append(place)
        for call in messages[at].calls:
            yield messages[_answer_to(call, places, at)]
        if left := sorted(place for own in places.values() for place in own):
            raise _answers_nothing(left[0], messages[left[0]])
        at += 1 + num_answers


def _num_answers(messages: Sequence[Said], start: int) -> int:
    end = start
    while end < len(messages) and messages[end].role == "tool":
        end += 1
    return end - start


def _answer_to(call: ToolCall, places: Mapping[str | None, list[int]], at: int) -> int:
    """The place of the answer among all messages, which is taken out."""
    if own := places.get(call.id):
        return own.pop()
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
