"""Contexts that a server keeps for clients that keep token ids, and when they are read next."""

from typing import Annotated

from pydantic import Field

from backends.request_limits import MAX_PLACE_CHARS, MAX_PLACE_S, MAX_TOLD
from teola.serving.fields import INT_END, Fields

Name = Annotated[str, Field(min_length=1, max_length=MAX_PLACE_CHARS)]
Seconds = Annotated[float, Field(ge=0, le=MAX_PLACE_S)]  # from now


class KeptHead(Fields):
    """The begin of a prompt, to be kept like a context of its own."""

    name: Name
    num_tokens: int = Field(gt=0, lt=INT_END)
    read_in_s: Seconds


class Words(Fields):
    """What a client knows of contexts that are kept for it; unknown names pass."""

    expected: dict[Name, Seconds] = Field({}, max_length=MAX_TOLD)  # when each is read next
    released: list[Name] = Field([], max_length=MAX_TOLD)  # nobody reads these any more


class ContextFields(Words):
    """Of one prompt of token ids, with one answer."""

    reads: Name | None = None  # a kept context that it goes on from
    head: KeptHead | None = None
    keeps: Name | None = None  # what the answer leaves
    read_in_s: Seconds | None = None  # from the end of the answer: when that is read


class ForesightFields(Words):
    """The body of `POST /v1/foresight`."""

    model: str | None = None
    wanted: list[Name] = Field([], max_length=MAX_TOLD)  # guesses that somebody waits for now
