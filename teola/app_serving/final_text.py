"""The text of an answer, from the events of a run and from what its app returns in the end."""

import json
from collections.abc import Iterable
from typing import Any

from runtime.events import Event
from teola.serving.api_errors import ApiError

_RETOLD = ApiError(
    500,
    "after a failure another answer was written than the one that began here; ask again",
    code="answer_changed",
)


class FinalText:
    """Of one run. A text that is written again, since its engine failed, goes on where it was
    left."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._source: tuple[str, str] | None = None  # the query and node whose text is told
        self._begun: dict[tuple[str, str], str] = {}  # texts that do not reach what was told

    def new(self, events: Iterable[Event]) -> str:
        """What these events add to the answer."""
        num_told = len(self._told)
        for event in events:
            key = (event.query, event.node)
            if event.kind == "retry" and key == self._source:
                self._source = None
            elif event.kind == "text" and event.fields["final"]:
                self._take(key, event.fields["text"])
        return "".join(self._told[num_told:])

    def rest(self, result: Any) -> str:
        """What is left when the app has returned. Raises ApiError where that is another text."""
        text, told = text_of(result), "".join(self._told)
        if not text.startswith(told):
            raise _RETOLD
        return text[len(told) :]

    def _take(self, key: tuple[str, str], text: str) -> None:
        if self._source is None:
            written, told = self._begun.pop(key, "") + text, "".join(self._told)
            if not (len(written) > len(told) and written.startswith(told)):
                self._begun[key] = written
                return
            self._source, text = key, written[len(told) :]
        if key == self._source:
            self._told.append(text)


def text_of(result: Any) -> str:
    """A text as it is; anything else as JSON."""
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
