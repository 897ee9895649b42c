"""The answers of teola's own routes: scored choices, chunks computed ahead, contexts kept."""

from typing import Literal

from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from teola.serving.answer_types.usage import Usage


class SelectAnswer(TypedDict):
    """The best choice, its place, and the score of each."""

    object: Literal["select"]
    model: str
    index: int
    choice: str
    scores: list[float]
    usage: Usage


class EncodeAnswer(TypedDict):
    """How many chunks were computed."""

    object: Literal["encode"]
    model: str
    num_encoded: int
    usage: Usage


class ForesightAnswer(TypedDict):
    """What a server keeps for all its clients."""

    object: Literal["foresight"]
    num_kept: int
