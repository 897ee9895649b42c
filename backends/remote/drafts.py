"""Answers as they come from a server: whole, or piece by piece. Both are read by the same code."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backends.base import FinishReason, FusionReport, Sample, TokenLogprob, ToolCall, Usage
from backends.errors import ContentRefused, EngineError
from backends.fusion_reports import report_from
from backends.served import Served

UNKNOWN_ID = -1  # of a token: chat APIs say its text only

_FINISHES: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


@dataclass(slots=True)
class _PartialCall:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Draft:
    """One answer."""

    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    calls: dict[int, _PartialCall] = field(default_factory=dict)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: str | None = None
    stop: str | int | None = None

    @property
    def whole_text(self) -> str:
        return "".join(self.text)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Of the last one perhaps only the begin."""
        return tuple(
            ToolCall(call.id or f"call_{at}", call.name, "".join(call.arguments) or "{}")
            for at, call in sorted(self.calls.items())
        )

    def index_of_call(self, id: str | None) -> int:
        """Of the piece of a call that says its id at most: the last call's, or a new one's."""
        for index, call in self.calls.items():
            if id and call.id == id:
                return index
        return max(self.calls, default=0) if not id else len(self.calls)

    def add_call(self, index: int, id: str | None, name: str | None, arguments: Any) -> None:
        """A call or a piece of one; arguments are joined."""
        call = self.calls.setdefault(index, _PartialCall())
        call.id = call.id or id or ""
        call.name = call.name or name or ""
        if arguments is not None:
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            call.arguments.append(text)

    def sample(self, stops: Iterable[str | int]) -> Sample:
        """How it came about; a stop counts if it is one of those asked for. Raises ContentRefused
        for a refusal, EngineError for an end that is no answer."""
        if self.refusal:
            raise ContentRefused(f"the model refuses: {''.join(self.refusal)}")
        if self.finish == "content_filter":
            raise ContentRefused("the provider's content filter stopped the answer")
        if self.finish is None:
            raise EngineError("the server's answer has no end: no finish_reason came")
        reason = _FINISHES.get(self.finish)
        if reason is None:
            raise EngineError(f"the server ended the answer by {self.finish!r}")
        calls = self.tool_calls
        return Sample(
            "tool_calls" if calls and reason == "stop" else reason,
            self.stop if self.stop in tuple(stops) else None,
            tuple(self.logprobs),
            calls,
        )


@dataclass(slots=True)
class Drafts:
    """All answers of a request, by their index, and what they cost."""

    by_index: dict[int, Draft] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    prompt_tokens: int | None = None  # as the server counts them
    fusion: FusionReport | None = None  # of teola's server
    served: Served | None = None  # of teola's server
    told: str | None = None  # the canonical turn that a stream was told as, with tools

    def of(self, index: int) -> Draft:
        return self.by_index.setdefault(index, Draft())

    def in_order(self, num: int) -> list[Draft]:
        """Raises EngineError if the server gave fewer."""
        if sorted(self.by_index) != list(range(num)):
            raise EngineError(f"{num} answers were asked for and {len(self.by_index)} came")
        return [self.by_index[index] for index in range(num)]

    def count(self, prompt: Any, cached: Any, written: Any) -> None:
        """Tokens of the whole request; None is none, or not told."""
        num_prompt = max(0, prompt or 0)
        known = max(0, min(cached or 0, num_prompt))
        self.prompt_tokens = prompt
        self.usage = Usage(num_prompt - known, known, max(0, written or 0))

    def count_fused(self, fused: Any, report: Any) -> None:
        """Tokens of a fused prompt, and what that saved; None is none."""
        self.usage = replace(self.usage, fused_tokens=max(0, fused or 0))
        self.fusion = report_from(report)


def chat_logprob(token: Mapping[str, Any]) -> TokenLogprob:
    """OpenAI's and Ollama's shape: token, logprob, bytes, top_logprobs."""
    raw = token.get("bytes")
    return TokenLogprob(
        UNKNOWN_ID,
        bytes(raw) if raw is not None else str(token["token"]).encode(),
        float(token["logprob"]),
        tuple(chat_logprob(other) for other in token.get("top_logprobs") or ()),
    )


def completion_logprobs(found: Mapping[str, Any]) -> list[TokenLogprob]:
    """The shape of plain completions: lists side by side."""
    tops = found.get("top_logprobs") or [None] * len(found["tokens"])
    rows = zip(found["tokens"], found["token_logprobs"], tops, strict=True)
    return [
        TokenLogprob(UNKNOWN_ID, token.encode(), float(logprob), _best_first(top or {}))
        for token, logprob, top in rows
    ]


def _best_first(top: Mapping[str, float]) -> tuple[TokenLogprob, ...]:
    ranked = sorted(top.items(), key=lambda item: -item[1])
    return tuple(TokenLogprob(UNKNOWN_ID, token.encode(), float(lp)) for token, lp in ranked)
