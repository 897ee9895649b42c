"""Conversations with tools as recordings have them: the parts of the prompt and canonical turns.

Their ids hold more, the markup of the tools, and what was said in the model's own format.
"""

from contextlib import suppress
from dataclasses import replace
from weakref import WeakKeyDictionary

from backends.base import Request, ToolCall
from backends.emulated.recorder import ContextTexts
from backends.llm.requests.open_turn import tools_of
from backends.llm.sequence.sequence import LLMContext, Sequence
from backends.tool_calls.format import CallFormat, written_text
from backends.tool_calls.parser import NoCall, arguments_from
from backends.tool_calls.turn import ToolTurn, read_turn


class ToolTexts:
    """Of the live contexts of one engine that have tools."""

    def __init__(self) -> None:
        self._contexts = ContextTexts()
        self._prompts: WeakKeyDictionary[Sequence, str] = WeakKeyDictionary()

    def prompt(self, request: Request, sequence: Sequence) -> str | None:
        """Of a request, one of whose sequences this is; None without tools."""
        if tools_of(sequence.turn) is None:
            return None
        text = self._contexts.prompt(request.inputs)
        if text is not None:
            self._prompts[sequence] = text
        return text

    def note(self, sequence: Sequence, context: LLMContext) -> None:
        """The context that a sequence became."""
        prompt = self._prompts.get(sequence)
        if prompt is not None:
            said = sequence.generation.output if sequence.generation is not None else ""
            self._contexts.note(context, prompt + said)


def as_model_writes(text: str, form: CallFormat) -> str:
    """A recorded answer in the model's format; a text that is no canonical turn as it is."""
    turn = read_turn(text)
    if turn is None:
        return text
    return written_text(form, ToolTurn(turn.content, tuple(map(_spaced, turn.calls))))


def _spaced(call: ToolCall) -> ToolCall:
    """With the spaces that grammars hold a model to."""
    with suppress(NoCall):
        return replace(call, arguments=arguments_from(call.arguments))
    return call
