"""Parts of a prompt as chat messages, for servers that write their own template's markup.

    Turn(user) "Who " "wrote it?" Turn(assistant)              -> user: "Who wrote it?"
    Turn(user) "Think." Turn(assistant) "Thought:"             -> the same, and a begun answer
    "Once upon a time"                                         -> text without turns

Consecutive texts of a turn are joined as they are.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backends.base import Chunk, Part, Role, Tokens, ToolCall, Turn
from backends.errors import RequestRejected
from backends.tool_calls.turn import ToolTurn, read_turn, turn_text


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    calls: tuple[ToolCall, ...] = ()  # of an assistant turn
    answers: ToolCall | None = None  # by a tool turn
    pieces: tuple[str, ...] = ()  # of the content, where some of them are chunks

    @property
    def body(self) -> dict[str, Any]:
        """As OpenAI writes it; with chunks as teola's server takes them."""
        content = content_parts(self.pieces) if self.pieces else self.content
        found: dict[str, Any] = {"role": self.role, "content": content}
        if self.calls:
            found["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in self.calls
            ]
        return found if self.answers is None else {**found, "tool_call_id": self.answers.id}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation, or a text without turns; never both."""

    text: str = ""  # of a prompt without turns
    turns: tuple[Message, ...] = ()  # the last one is open
    pieces: tuple[str, ...] = ()  # of the text, where some of them are chunks

    @property
    def is_begun(self) -> bool:
        """The answer goes on from text that the prompt has of it already."""
        last = self.turns[-1] if self.turns else Message("user", "")
        return last.role == "assistant" and last.content != ""

    @property
    def messages(self) -> tuple[Message, ...]:
        """What was said so far: the turns without an answer that has no text yet."""
        if self.turns and self.turns[-1] == Message("assistant", ""):
            return self.turns[:-1]
        return self.turns

    @property
    def has_chunks(self) -> bool:
        return bool(self.pieces) or any(message.pieces for message in self.turns)


def read_prompt(parts: Iterable[object], has_tools: bool = False) -> Prompt:
    """The parts as one prompt. With tools, an assistant turn that is a canonical turn has calls,
    and tool turns answer them. Raises RequestRejected for what no message can hold."""
    head: list[str] = []
    turns: list[tuple[Role, list[str]]] = []
    for part in parts:
        if isinstance(part, Turn):
            turns.append((part.role, []))
        elif isinstance(part, str):
            (turns[-1][1] if turns else head).append(part)
        else:
            raise RequestRejected(_no_text(part))
    text = "".join(head)
    if turns and text:
        raise RequestRejected(
            f"the prompt begins with text outside of any turn ({text[:40]!r}), which chat messages "
            "cannot hold: put a turn before it"
        )
    messages = [Message(role, "".join(texts), pieces=_pieces(texts)) for role, texts in turns]
    said = tuple(_with_calls(messages) if has_tools else _without_tools(messages))
    return Prompt(text, said, _pieces(head))


def content_parts(pieces: Iterable[str]) -> list[dict[str, str]]:
    """Texts and chunks, marked as such."""
    return [
        {"type": "chunk" if isinstance(piece, Chunk) else "text", "text": piece} for piece in pieces
    ]


def _pieces(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(texts) if any(isinstance(text, Chunk) for text in texts) else ()


def _with_calls(messages: Iterable[Message]) -> Iterator[Message]:
    waiting: list[ToolCall] = []
    for message in messages:
        said = read_turn(message.content) if message.role == "assistant" else None
        if message.role == "tool":
            if not waiting:
                raise RequestRejected(
                    "a tool turn answers a call, and the assistant turn before it has no call left"
                )
            yield replace(message, answers=waiting.pop(0))
            continue
        waiting = [*said.calls] if said is not None else []
        yield message if said is None else Message("assistant", said.content, said.calls)


def _without_tools(messages: Sequence[Message]) -> Sequence[Message]:
    if any(message.role == "tool" for message in messages):
        raise RequestRejected(
            "a tool turn answers a call, and there are no tools: give `tools` to the prefill that "
            "opens the conversation"
        )
    return messages


def check_answerable(prompt: Prompt) -> None:
    """Raises RequestRejected for a prompt that a chat API would not answer as it stands."""
    if not prompt.turns and not prompt.text:
        raise RequestRejected("decode needs a prompt, and this one is empty")
    if prompt.turns and prompt.turns[-1].role != "assistant":
        raise RequestRejected(
            f"the prompt ends inside a {prompt.turns[-1].role} turn, and a chat API writes "
            "assistant turns only: end it with an assistant turn"
        )
    if prompt.turns and not prompt.messages:
        raise RequestRejected("the prompt has no turn but the answer's: put a user turn before it")


def parts_of(prompt: Prompt) -> tuple[Part, ...]:
    """The parts that make this prompt."""
    if not prompt.turns:
        return prompt.pieces or ((prompt.text,) if prompt.text else ())
    found: list[Part] = []
    for message in prompt.turns:
        said = turn_text(ToolTurn(message.content, message.calls)) if message.calls else None
        text = said or message.content
        found += [Turn(message.role), *(message.pieces or ([text] if text else []))]
    return tuple(found)


def _no_text(part: object) -> str:
    if isinstance(part, Tokens):
        return (
            "token ids cannot be sent as chat messages; embedded engines (local:) take them, and "
            "sglang://, vllm:// and teola:// with the option tokenizer"
        )
    return f"a prompt is made of text and turns, not {part!r}"
