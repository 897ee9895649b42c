"""Parts of a prompt as chat messages, for servers that write their own template's markup.

    Turn(user) "Who " "wrote it?" Turn(assistant)              -> user: "Who wrote it?"
    Turn(user) "Think." Turn(assistant) "Thought:"             -> the same, and a begun answer
    "Once upon a time"                                         -> text without turns

Consecutive texts of a turn are joined as they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from backends.base import Part, Role, Tokens, Turn
from backends.errors import RequestRejected


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    @property
    def body(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation, or a text without turns; never both."""

    text: str = ""  # of a prompt without turns
    turns: tuple[Message, ...] = ()  # the last one is open

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
    def size_chars(self) -> int:
        return len(self.text) + sum(len(message.content) for message in self.turns)


def read_prompt(parts: Iterable[object]) -> Prompt:
    """The parts as one prompt. Raises RequestRejected for what no message can hold."""
    head: list[str] = []
    turns: list[tuple[Role, list[str]]] = []
    for part in parts:
        if isinstance(part, Turn) and part.role == "tool":
            raise RequestRejected("text mode takes no tool turns: answer a call in a user turn")
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
    return Prompt(text, tuple(Message(role, "".join(texts)) for role, texts in turns))


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
        return (prompt.text,) if prompt.text else ()
    found: list[Part] = []
    for message in prompt.turns:
        found += [Turn(message.role), *([message.content] if message.content else [])]
    return tuple(found)


def _no_text(part: object) -> str:
    if isinstance(part, Tokens):
        return (
            "token ids cannot be sent as chat messages; embedded engines (local:) take them, and "
            "sglang://, vllm:// and teola:// with the option tokenizer"
        )
    return f"a prompt is made of text and turns, not {part!r}"
