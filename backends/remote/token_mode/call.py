"""What a server is asked in token mode, and what it says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from backends.base import Capability, FusionReport, Usage
from backends.fusion_reports import total_report
from backends.llm.requests.sampling import Sampling
from backends.llm.sequence.tool_decoding import ToolDecoding
from backends.place import Place
from backends.remote.token_mode.tool_structure import ToolStructure
from backends.served import Served

Finish = Literal["stop", "length"]


class TokenScore(NamedTuple):
    """A token at one place and how likely it was there, with the likeliest, best first."""

    id: int
    logprob: float
    top: Sequence[tuple[int, float]] = ()


class ChunkAt(NamedTuple):
    """A chunk's tokens [start, end) of a prompt, and the text that they come from."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Token ids at a server."""

    id: str  # 32 hex digits: never a prefix of another
    ids: Sequence[int]
    priority: int = 0  # larger is more urgent
    place: Place | None = None  # in the query that waits for it
    is_heard: bool = False  # the server is to tell how it served it
    adapter: str | None = None
    salt: str = ""  # "": shared by all
    fusion: str | None = None  # the plan by which `chunks` are reused; None: all is exact
    chunks: Sequence[ChunkAt] = ()
    contexts: Mapping[str, Any] | None = None  # kept ones, for a server that keeps some


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Prompt):
    """One sequence for a server to continue."""

    sampling: Sampling  # n and seed aside
    max_new: int  # max_tokens, or less where the context ends before
    end_ids: Sequence[int]  # the end of turn; none where it is ignored
    seed: int | None = None
    streams: bool = False
    tools: ToolDecoding | None = None  # None: there are none
    structure: ToolStructure | None = None  # instead of the sampling's own form

    @property
    def stop_ids(self) -> list[int]:
        """All tokens that end it."""
        return sorted({*self.end_ids, *self.sampling.stop_token_ids})


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What came of a call, all of it or since the last. A server sends tokens as they come, or it
    sends `text` as it comes and the tokens in the end."""

    scores: Sequence[TokenScore] = ()  # of `ids`, if they were asked for
    ids: Sequence[int] = ()
    text: str | None = None  # None: to be decoded from `ids`
    finish: Finish | None = None  # None: more comes
    stop: str | int | None = None  # the stop string or token that ended it
    num_cached: int | None = None  # None: not said, or not known
    num_decoded: int | None = None  # sampled in all
    num_fused: int = 0  # of a fused prompt
    fusion: FusionReport | None = None
    served: Served | None = None  # by teola's server


class Choice(NamedTuple):
    """What may follow a prompt."""

    text: str
    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a server computed besides an output, in tokens."""

    num_computed: int = 0  # of prompts
    num_cached: int = 0
    num_decoded: int = 0  # thrown away
    num_fused: int = 0
    fusion: FusionReport | None = None

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.num_computed + other.num_computed,
            self.num_cached + other.num_cached,
            self.num_decoded + other.num_decoded,
            self.num_fused + other.num_fused,
            total_report((self.fusion, other.fusion)),
        )

    @property
    def usage(self) -> Usage:
        return Usage(
            self.num_computed, self.num_cached, self.num_decoded, fused_tokens=self.num_fused
        )


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a probe found."""

    model: str
    capabilities: frozenset[Capability]
    max_context_tokens: int | None = None
    tokenizer: str | None = None  # where the server took it from: a path there or a Hub name
    version: str = ""
