"""What a decode with tools has besides others: a grammar, and a reader of what the model writes."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from backends.errors import RequestRejected
from backends.llm.requests.open_turn import Open, ToolTurns
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.requests.sampling import GrammarSource, Sampling
from backends.llm.text.detokenizer import Detokenizer, detokenizer_of
from backends.llm.text.tokenizer import Tokenizer
from backends.tool_calls.format import CallFormat, with_spacing
from backends.tool_calls.stream import TurnStream
from backends.tool_calls.tools import Toolset

_SLASH = re.compile(r"(?<!\\)/")


@dataclass(frozen=True, slots=True)
class ToolDecoding:
    """Of one set of tools; without tools it is as every decode."""

    tokenizer: Tokenizer
    tools: Toolset | None = None
    form: CallFormat | None = None

    @staticmethod
    def of(tools: Toolset | None, prompts: PromptEncoder) -> "ToolDecoding":
        form = prompts.format_of(tools) if tools is not None else None
        return ToolDecoding(prompts.tokenizer, tools, form)

    def turn(self) -> TurnStream | None:
        """A reader of what the model writes; where the choice forbids calls, all is content."""
        if self.tools is None or self.form is None:
            return None
        return TurnStream(self.form.parser() if self.tools.callable else None)

    def detokenizer(self) -> Detokenizer:
        """That writes the special tokens of the format too."""
        inner = detokenizer_of(self.tokenizer)
        return WithMarkers(inner, self._markers) if self.has_markers else inner

    @property
    def has_markers(self) -> bool:
        """Whether the format has special tokens, which no server's text says."""
        return bool(self._markers)

    def grammar(self, sampling: Sampling) -> GrammarSource | None:
        """What holds the turn to well-formed calls, or to the content that was asked for."""
        if self.tools is None or self.form is None or not self.tools.callable:
            return sampling.grammar
        if sampling.ignore_eos and not self.tools.is_call_required:
            return None
        lark = self.form.grammar(self.tools, _content(sampling), self._literal)
        return GrammarSource("tools", lark)

    def check(self, compile: Callable[[GrammarSource], object]) -> None:
        """Raises RequestRejected, which names the first tool whose schema cannot be followed."""
        for tool in self.tools.callable if self.tools is not None else ():
            alone = replace(self, tools=Toolset((tool,), tool.name)).grammar(Sampling())
            assert alone is not None, "a named tool is called"
            try:
                compile(alone)
            except RequestRejected as error:
                raise RequestRejected(f"tool {tool.name!r}: {error}") from error

    def _literal(self, text: str) -> str:
        """A text or a special token, as Lark writes it."""
        token = self._markers.get(text)
        return json.dumps(text, ensure_ascii=False) if token is None else f"<[{token}]>"

    @property
    def _markers(self) -> dict[str, int]:
        """The markers of the format that are special tokens of this vocabulary."""
        if self.form is None or self.tools is None or not self.tools.callable:
            return {}
        return {
            self.tokenizer.token(token): token
            for token in self.tokenizer.special_ids
            if self.tokenizer.token(token) in self.form.markers
        }


def turn_after(turn: Open, said: TurnStream | None) -> Open:
    """What is open after an output, with the calls in it."""
    if not isinstance(turn, ToolTurns) or said is None:
        return turn
    return turn.called(said.calls)


class WithMarkers:
    """A detokenizer that also writes the special tokens which a format is made of."""

    def __init__(self, inner: Detokenizer, markers: dict[str, int]) -> None:
        self._inner = inner
        self._texts = {token: text for text, token in markers.items()}

    def push(self, token_id: int) -> str:
        """The text the token completes."""
        text = self._texts.get(token_id)
        return self._inner.push(token_id) if text is None else self._inner.flush() + text

    def flush(self) -> str:
        """What is left at the end."""
        return self._inner.flush()


def _content(sampling: Sampling) -> str | None:
    """The right side of a Lark rule for the form of a turn without calls."""
    if sampling.schema is not None:
        schema = json.loads(sampling.schema)
        return f"%json {json.dumps(with_spacing(schema), ensure_ascii=False)}"
    if sampling.regex is not None:
        return "/" + _SLASH.sub(r"\/", sampling.regex) + "/"
    if sampling.choices is not None:
        return " | ".join(json.dumps(choice, ensure_ascii=False) for choice in sampling.choices)
    return None
