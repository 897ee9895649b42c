"""Embeddings and ranks."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12


class EmbeddingEntry(TypedDict):
    """One vector, as numbers or as base64 of 32-bit floats."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    truncated: NotRequired[Literal[True]]


class EmbeddingUsage(TypedDict):
    """The tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(TypedDict):
    """One vector an input, in order."""

    object: Literal["list"]
    model: str
    data: list[EmbeddingEntry]
    usage: EmbeddingUsage
    warning: NotRequired[str]


class RankedText(TypedDict):
    """A passage's text."""

    text: str


class Ranked(TypedDict):
    """A passage; `index` is its place in the request."""

    index: int
    relevance_score: float
    document: NotRequired[RankedText]


class RerankUsage(TypedDict):
    """Tokens of query and passages."""

    total_tokens: int


class RerankAnswer(TypedDict):
    """The passages, best first."""

    id: str
    model: str
    results: list[Ranked]
    usage: RerankUsage
