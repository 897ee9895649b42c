"""The tokens that a request took, and how it was served."""

from typing import NotRequired

from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from backends.base import FusionReport
from backends.served import Limit


class PromptDetails(TypedDict):
    """Of the prompt's tokens."""

    cached_tokens: int
    fused_tokens: NotRequired[int]


class ServedUsage(TypedDict):
    """How the engine's steps served a request; what is 0 or empty is left out."""

    queued_s: NotRequired[float]
    num_steps: NotRequired[int]
    first_step: NotRequired[int]
    last_step: NotRequired[int]
    num_chunks: NotRequired[int]
    largest_chunk: NotRequired[int]
    num_paused: NotRequired[int]
    paused_s: NotRequired[float]
    num_preempted: NotRequired[int]
    preempted_by: NotRequired[str]
    limits: NotRequired[list[tuple[Limit, float]]]
    behind: NotRequired[list[tuple[str, float]]]


class Usage(TypedDict):
    """The tokens of a request; `fusion` with KV cache fusion, `served` where it is asked for."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    fusion: NotRequired[FusionReport]
    served: NotRequired[ServedUsage]
