"""What a text dialect is: a body for a call, and a reader of its answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from backends.remote.answer_form import Form
from backends.remote.drafts import Drafts
from backends.remote.text_call import TextCall


@dataclass(frozen=True, slots=True)
class Written:
    """A call as a request."""

    path: str
    body: Mapping[str, Any]
    form: Form = field(default_factory=Form)


class TextDialect(Protocol):
    """One API of one kind of server."""

    max_samples: int  # answers in one request; more are several requests

    def write(self, call: TextCall, is_stream: bool) -> Written:
        """Raises RequestRejected for what the API does not offer."""

    def read(self, event: Any, drafts: Drafts) -> str:
        """Adds a whole answer, or one event of a stream; the new text of the first answer."""

    def learn(self, refusal: str, call: TextCall, body: Mapping[str, Any]) -> bool:
        """Whether the server's words about `body` show how to write the call so that it passes."""
