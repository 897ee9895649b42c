"""The fields by which a client says how to decode, and the attributes they become."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from backends.request_limits import (
    MAX_BIASES,
    MAX_NAME_CHARS,
    MAX_STOP_CHARS,
    MAX_STOP_TOKEN_IDS,
    MAX_STOPS,
)
from teola.serving.api_errors import invalid
from teola.serving.fields import INT_END, Fields, TokenId
from teola.serving.place_fields import PlaceFields
from teola.serving.prompt_parts import Fusion
from teola.serving.structure_fields import HasStructure


def listed(value: object) -> object:
    """One string where several may stand."""
    return [value] if isinstance(value, str) else value


_Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]
_Stops = Annotated[list[_Stop], Field(max_length=MAX_STOPS)]
Stops = Annotated[_Stops, BeforeValidator(listed, json_schema_input_type=_Stop | _Stops)]


class StreamOptions(Fields):
    """`include_usage`: one more event at the end, with the usage of all choices."""

    include_usage: bool = False
    include_obfuscation: bool = False  # read and not used: it only pads events


class DecodeFields(HasStructure):
    """What chat and plain completions share. Defaults are OpenAI's."""

    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int = Field(1, ge=1, le=128)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, lt=INT_END)  # 0 and -1: all tokens
    min_p: float = Field(0.0, ge=0, le=1)
    min_tokens: int | None = Field(None, ge=0, lt=INT_END)
    stop: Stops | None = None
    stop_token_ids: list[TokenId] | None = Field(None, max_length=MAX_STOP_TOKEN_IDS)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    repetition_penalty: float = Field(1.0, ge=0.01, le=100)
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, max_length=MAX_BIASES
    )
    ignore_eos: bool = False
    speculate: bool | None = None  # guess tokens ahead; left out: where it pays
    priority: int = Field(0, ge=-INT_END, lt=INT_END)  # higher goes first
    place: PlaceFields | None = None  # in the query that waits for the answer
    return_served: bool = False  # the usage tells what it waited for in the engine
    itl_ms: float | None = Field(None, gt=0, le=1e6)  # wanted time between tokens
    cache_salt: str | None = Field(
        None, min_length=1, max_length=MAX_NAME_CHARS
    )  # shares prefixes with its equals alone
    fusion: Fusion | None = None  # how the KV of chunks is reused; left out: all is exact

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _token_ids(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        if not all(key.isdecimal() and len(key) <= 10 and int(key) < INT_END for key in value):
            raise ValueError("keys must be token ids")
        return {int(key): bias for key, bias in value.items()}

    @property
    def includes_usage(self) -> bool:
        """A stream ends with an event of its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def attrs(self, max_tokens: int, logprobs: int | None) -> Mapping[str, Any]:
        """Attributes of a decode; those that say nothing are left out. Raises ApiError."""
        if (self.min_tokens or 0) > max_tokens:
            why = f"min_tokens is {self.min_tokens}, and max_tokens only {max_tokens}"
            raise invalid("min_tokens", why)
        found: dict[str, Any] = {
            "max_tokens": max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p if self.top_p < 1 else None,
            "top_k": self.top_k if (self.top_k or 0) > 0 else None,
            "min_p": self.min_p or None,
            "min_tokens": self.min_tokens or None,
            "stop": self.stop or None,
            "stop_token_ids": self.stop_token_ids or None,
            "seed": self.seed,
            "presence_penalty": self.presence_penalty or None,
            "frequency_penalty": self.frequency_penalty or None,
            "repetition_penalty": self.repetition_penalty if self.repetition_penalty != 1 else None,
            "logit_bias": self.logit_bias or None,
            "ignore_eos": self.ignore_eos or None,
            "speculate": self.speculate,
            **self.structure,
            "logprobs": logprobs,
        }
        return {name: value for name, value in found.items() if value is not None}
