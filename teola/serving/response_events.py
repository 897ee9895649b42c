"""A response as a stream of events: each item of the output opens, grows and is done."""

import json
from typing import Any
from uuid import uuid4

from backends.base import TokenLogprob, ToolCall
from teola.serving.response_objects import Item, call_item, logprobs_of, message_item, text_part


class ResponseEvents:
    """Writes the events of one response, numbered."""

    def __init__(self) -> None:
        self.output: list[Item] = []  # the items that are done
        self._number = 0
        self._message = ""  # the id of the message that is open; "": none
        self._text: list[str] = []  # of that message
        self._logprobs: list[TokenLogprob] = []

    @property
    def is_open(self) -> bool:
        """A message is being written."""
        return bool(self._message)

    def event(self, kind: str, **fields: Any) -> bytes:
        """One server-sent event."""
        body = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {kind}\ndata: {json.dumps(body, separators=(',', ':'))}\n\n".encode()

    def text(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> bytes:
        """More of a message, which opens with its first text."""
        opening = b"" if self._message else self._opened()
        self._text.append(text)
        self._logprobs += logprobs
        delta = {"delta": text, "logprobs": logprobs_of(logprobs)}
        return opening + self._of_part("response.output_text.delta", **delta)

    def call(self, call: ToolCall) -> bytes:
        """A whole call, after what is open was closed."""
        done = call_item(call, "completed")
        place = {"output_index": len(self.output) + bool(self._message)}
        about = {"item_id": done["id"], **place}
        started = {**done, "status": "in_progress", "arguments": ""}
        arguments = call.arguments
        frames = [
            self.close(),
            self.event("response.output_item.added", **place, item=started),
            self.event("response.function_call_arguments.delta", **about, delta=arguments),
            self.event(
                "response.function_call_arguments.done",
                **about,
                name=call.name,
                arguments=arguments,
            ),
            self.event("response.output_item.done", **place, item=done),
        ]
        self.output.append(done)
        return b"".join(frames)

    def close(self) -> bytes:
        """The end of the open message, if there is one."""
        if not self._message:
            return b""
        text = "".join(self._text)
        part = text_part(text, self._logprobs)
        item = message_item(self._message, [part], "completed")
        told = part["logprobs"]
        frames = (
            self._of_part("response.output_text.done", text=text, logprobs=told),
            self._of_part("response.content_part.done", part=part),
            self.event("response.output_item.done", output_index=len(self.output), item=item),
        )
        self.output.append(item)
        self._message, self._text, self._logprobs = "", [], []
        return b"".join(frames)

    def _opened(self) -> bytes:
        self._message = f"msg_{uuid4().hex}"
        item = message_item(self._message, [], "in_progress")
        return self.event(
            "response.output_item.added", output_index=len(self.output), item=item
        ) + self._of_part("response.content_part.added", part=text_part(""))

    def _of_part(self, kind: str, **fields: Any) -> bytes:
        place = {"output_index": len(self.output), "content_index": 0}
        return self.event(kind, item_id=self._message, **place, **fields)
