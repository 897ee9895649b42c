"""What a server says of itself, its models and their tokens."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from backends.fusion_profile import FusionProfile


class ModelCard(TypedDict):
    """A model of this server."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    kind: str
    capabilities: list[str]
    parent: NotRequired[str]
    client_priority: NotRequired[str]
    takes_places: NotRequired[bool]
    takes_guesses: NotRequired[bool]
    keeps_contexts: NotRequired[bool]
    takes_policy: NotRequired[bool]
    max_model_len: NotRequired[int]
    fusion: NotRequired[FusionProfile]


class ModelList(TypedDict):
    """All models."""

    object: Literal["list"]
    data: list[ModelCard]


class TokensAnswer(TypedDict):
    """Token ids of a prompt."""

    tokens: list[int]
    count: int
    max_model_len: int


class TokenizerAnswer(TypedDict):
    """Of the LLM."""

    model: str
    bos_token: str | None
    eos_token: str | None
    chat_template: str | None
    vocab_size: int


class TextAnswer(TypedDict):
    """The text of token ids."""

    prompt: str


class HealthAnswer(TypedDict):
    """Requests are answered."""

    status: Literal["ok"]


class VersionAnswer(TypedDict):
    """The version of teola."""

    version: str
