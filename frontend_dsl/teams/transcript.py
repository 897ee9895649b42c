"""What a group says: a text that grows, which each model reads once.

All of it is one turn of the user's in one context. A speaker reads, in a fork of that context, who
it is and what to do, and answers; its answer is then put behind the transcript, for all.

    context:  system, opening, "alice: ...", "bob: ...", "carol: ..."
    fork:     the same, then "alice speaks next. ..." -> what alice says next
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from frontend_dsl.agents.agent import Agent
from frontend_dsl.agents.task import shown
from frontend_dsl.components import LLM
from frontend_dsl.program import RunOptions
from frontend_dsl.teams.members import ask, real
from frontend_dsl.template import pieces
from frontend_dsl.tools import tool
from frontend_dsl.tracer import Tracer, tracing
from frontend_dsl.value import Value
from frontend_dsl.writing import prefill, prompt_parts, write
from graph_opt.graph import Marker

BREAK = "\n\n"
NEXT = "{name} speaks next."
SAYS = "{name} says:"
WRITE_AS = "Write only what {name} says next."  # for who has a conversation of its own


@dataclass(frozen=True, slots=True)
class Line:
    """What one of a group said."""

    speaker: str
    text: str

    def __str__(self) -> str:
        return f"{self.speaker}: {self.text}"


@dataclass(slots=True)
class Reading:
    """What one model has read of a transcript."""

    context: Value | None = None
    num_read: int = 0  # paragraphs


class Transcript:
    """What is said in a group, in an app. `system` is for all; `opening` what it is about."""

    def __init__(self, system: str, opening: str) -> None:
        self._system = system
        self._paragraphs: list[tuple[str, Any]] = [("", opening)]  # what leads in, and a text
        self._said: list[tuple[str, Any]] = []  # speakers and texts
        self._readings: dict[tuple[str, str | None], Reading] = {}

    def speak(self, member: Any, role: str = "") -> Any:
        """Ask a member what it says next, and put that behind the transcript; its answer."""
        if not is_speaker(member):
            answer = self._asked(member, role, WRITE_AS.format(name=member.name))
            return self._add(member, shown(answer), answer)
        return self._add(member, *self._written(member, *_speaking(member, role)))

    async def aspeak(self, member: Any, role: str = "") -> Any:
        """The same in an `async def` app, where some members are awaited."""
        if is_speaker(member):
            return self.speak(member, role)
        answer = await real(self._asked(member, role, WRITE_AS.format(name=member.name)))
        return self._add(member, shown(answer), answer)

    def close(self, member: Any, request: str) -> Any:
        """What somebody answers who has read the transcript, and is no speaker of it."""
        if not is_speaker(member):
            return self._asked(member, request)
        return self._written(member, request, member.instructions)[1]

    def read_by(self, llm: LLM) -> Value:
        """The context of a model that has read all that was said."""
        tracer = tracing("a transcript")
        key = (tracer.symbols.engine(llm), llm.adapter)
        reading = self._readings.setdefault(key, Reading())
        parts = [*self._head(reading), *self._unread(tracer, reading)]
        if parts:
            reading.context = prefill(tracer, "transcript", llm, reading.context, parts)
            reading.num_read = len(self._paragraphs)
            tracer.hold(reading.context)
        assert reading.context is not None, "the opening is read first"
        return reading.context

    def lines(self) -> list[Line]:
        """What was said, as a value of the app."""
        speakers = [name for name, _ in self._said]
        return _lines(speakers, [text for _, text in self._said])

    @property
    def text(self) -> str:
        """The whole, for who has a conversation of its own."""
        return BREAK.join(f"{lead}{text}" for lead, text in self._paragraphs)

    def _add(self, member: Any, written: Any, answer: Any) -> Any:
        self._said.append((member.name, written))
        self._paragraphs.append((f"{member.name}: ", written))
        return answer

    def _asked(self, member: Any, *more: str) -> Any:
        return ask(member, BREAK.join(filter(None, [self.text, *more])))

    def _written(self, member: Agent[Any], *words: str) -> tuple[Any, Any]:
        """What was written behind the transcript and these words, and the answer."""
        tracer = tracing("a transcript")
        with tracer.call(member.name):
            context = self.read_by(member.llm)
            parts = [BREAK + BREAK.join(filter(None, words)), Marker("assistant")]
            written = write(tracer, member.name, member.llm, context, parts, member._form)
        return written.text, written.result

    def _head(self, reading: Reading) -> list[Any]:
        if reading.context is not None:
            return []
        return [Marker("system"), self._system, Marker("user")]

    def _unread(self, tracer: Tracer, reading: Reading) -> list[Any]:
        words: list[Any] = []
        for i, (lead, text) in enumerate(self._paragraphs[reading.num_read :], reading.num_read):
            words += _joined(BREAK + lead if i else lead)
            words += pieces(text if isinstance(text, str) else f"{text}", (), tracer.given)
        return prompt_parts(words)


def _speaking(member: Agent[Any], role: str) -> tuple[str, ...]:
    """What a speaker is told, behind the transcript."""
    name = member.name
    return NEXT.format(name=name), role, member.instructions, SAYS.format(name=name)


def is_speaker(member: Any) -> TypeGuard[Agent[Any]]:
    """Whether a member is one prompt, run as all is, which may stand behind a transcript."""
    return isinstance(member, Agent) and not member.is_async and member.options == RunOptions()


def _joined(words: str) -> Sequence[str]:
    return [words] if words else []


@tool(pure=True, name="lines")
def _lines(speakers: list[str], texts: list[str]) -> list[Line]:
    return [Line(*each) for each in zip(speakers, texts, strict=True)]
