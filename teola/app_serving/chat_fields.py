"""The body of a chat with an app.

The prompts and the sampling of an app are its author's. What clients send for any model, without
being told to (a temperature, a limit, the tools of a chat page), is read and changes nothing: the
answer has a warning of it. What only a person asks for is refused.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from backends.request_limits import MAX_TOOLS
from teola.serving.chat_api import MARKUP_IS_THERE
from teola.serving.chat_message import Message
from teola.serving.decode_fields import StreamOptions
from teola.serving.fields import INT_END, UNSUPPORTED, Fields, Unsupported

_MAX_MESSAGES = 4096
_LATE = "the answer is the app's own; it samples as its author wrote it"
_ONE = "an app gives one answer"
_FORM = "the app's return type is the form of its answer"
_TEXT = "apps tell no log-probabilities"
_TOOLS = "an app calls its own tools, and never those of a client"

_Limit = Annotated[int | None, Field(ge=1, lt=INT_END)]
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {  # of what may be sent and then says nothing
    "temperature": (),
    "top_p": (1,),
    "max_tokens": (),
    "max_completion_tokens": (),
    "tools": ([],),
}


class AppChatFields(Fields):
    """A chat completion by an app: it is given what was said, and answers once."""

    unsupported: ClassVar[Unsupported] = {
        **UNSUPPORTED,
        **MARKUP_IS_THERE,
        "n": ((1,), _ONE),
        "best_of": ((1,), _ONE),
        "logprobs": ((False,), _TEXT),
        "top_logprobs": ((0,), _TEXT),
        "stop": (([], ""), _LATE),
        "seed": ((), _LATE),
        "top_k": ((-1, 0), _LATE),
        "min_p": ((0,), _LATE),
        "presence_penalty": ((0,), _LATE),
        "frequency_penalty": ((0,), _LATE),
        "repetition_penalty": ((1,), _LATE),
        "logit_bias": (({},), _LATE),
        "response_format": (({"type": "text"},), _FORM),
        "tool_choice": (("none", "auto"), _TOOLS),
        "functions": (([],), _TOOLS),
        "function_call": (("none", "auto"), _TOOLS),
    }

    model: str | None = None  # may be left out where only one app can chat
    messages: list[Message] = Field(min_length=1, max_length=_MAX_MESSAGES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2, description="Read, and without effect.")
    top_p: float | None = Field(None, gt=0, le=1, description="Read, and without effect.")
    max_tokens: _Limit = Field(None, description="Read, and without effect.")
    max_completion_tokens: _Limit = Field(None, description="Read, and without effect.")
    tools: list[dict[str, Any]] | None = Field(
        None, max_length=MAX_TOOLS, description="Whatever they are, they are never called."
    )

    @property
    def includes_usage(self) -> bool:
        """A stream ends with an event of its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def unused(self) -> tuple[str, ...]:
        """The fields that were given and have no effect."""
        given = {name: getattr(self, name) for name in _NEUTRAL}
        own = (n for n, value in given.items() if value is not None and value not in _NEUTRAL[n])
        return (*super().unused, *own)
