"""Which apps can chat, and what of a conversation each is given.

An app with a parameter `messages` that takes a conversation gets all of it. Another gets the last
message of the user, for its one required parameter, or for its first where none is required; that
must be a `str`. All others run by their own route.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from frontend_dsl.signature import MISSING, AppParameter
from teola.app_serving.app_schema import AnyApp
from teola.serving.api_errors import ApiError, invalid
from teola.serving.chat_message import Message

MESSAGES = "messages"
_PROBE = [{"role": "user", "content": "Hello"}]


class CannotChat(Exception):
    """Why an app cannot, and what to do."""


class ChatArguments:
    """Of one app. Raises CannotChat."""

    def __init__(self, app: AnyApp) -> None:
        self._name, self._takes_all = _parameter(app)

    def of(self, messages: Sequence[Message]) -> Mapping[str, Any]:
        """The arguments of a run, not yet checked. Raises ApiError where no user has spoken."""
        if self._takes_all:
            return {self._name: [*map(_plain, messages)]}
        return {self._name: _text(messages[_last_of_user(messages)])}

    def error(self, error: ApiError, messages: Sequence[Message]) -> ApiError:
        """What is wrong with an argument, told of the field that it came from."""
        here = f"arguments.{self._name}"
        if error.param is None or not error.param.startswith(here):
            return error
        there = MESSAGES if self._takes_all else f"{MESSAGES}.{_last_of_user(messages)}.content"
        param = there + error.param.removeprefix(here)
        message = error.message.replace(error.param, param)
        return ApiError(error.status, message, code=error.code, param=param)


def _parameter(app: AnyApp) -> tuple[str, bool]:
    """Its name, and whether it is given the whole conversation."""
    needed = [parameter for parameter in app.parameters if parameter.default is MISSING]
    for parameter in app.parameters:
        is_alone = needed in ([], [parameter])
        if parameter.name == MESSAGES and is_alone and _takes_conversation(parameter):
            return parameter.name, True
    given = needed or app.parameters[:1]
    if len(given) == 1 and given[0].type is str:
        return given[0].name, False
    raise CannotChat(_why_not(app, needed))


def _why_not(app: AnyApp, needed: Sequence[AppParameter]) -> str:
    has = ", ".join(parameter.name for parameter in needed or app.parameters) or "none"
    return (
        f"the app {app.name!r} cannot chat: a chat gives one text, for the one argument that it "
        "needs, a str, or a conversation, for an argument `messages: list[tl.Message]`; this app "
        f"has the {'required ' if needed else ''}arguments: {has}. Run it by POST "
        f"/v1/apps/{app.name}/runs, or serve an app with such an argument that calls it"
    )


def _takes_conversation(parameter: AppParameter) -> bool:
    try:
        parameter.check(_PROBE)
    except Exception:  # pydantic's, or of a validator that the app's author wrote
        return False
    return True


def _last_of_user(messages: Sequence[Message]) -> int:
    for place in reversed(range(len(messages))):
        if messages[place].role == "user":
            return place
    raise invalid(MESSAGES, "messages: none is of role 'user', whose last one the app is given")


def _text(message: Message) -> str:
    return "".join(piece.text for piece in message.content or ())


def _plain(message: Message) -> Mapping[str, Any]:
    """As OpenAI writes it, with the content as one text."""
    more = {
        "name": message.name,
        "tool_call_id": message.tool_call_id,
        "tool_calls": [
            call.model_dump(exclude={"index", "provider_specific_fields"})
            for call in message.tool_calls or ()
        ]
        or None,
    }
    said = {"role": message.engine_role, "content": _text(message)}
    return {**said, **{name: value for name, value in more.items() if value is not None}}
