"""Prompts whose markup is markup: `parse_special`. Never what a client says by default, since a
user's text would then write turns of its own."""

from collections.abc import Sequence

from backends.base import Marked, Part, Tokens
from backends.errors import EngineError
from teola.serving.api_errors import from_engine, invalid
from teola.serving.served import Served
from teola.serving.tokenizing import HasTokenizer


def marked(parts: Sequence[Part]) -> list[Part]:
    """The same with the texts' markup as markup."""
    return [Marked(part) if isinstance(part, str) else part for part in parts]


async def parsed(llm: Served, parts: Sequence[Part]) -> list[Part]:
    """The token ids of such a prompt. Raises ApiError."""
    if not isinstance(llm.engine, HasTokenizer):
        why = f"{llm.name} does not show its tokenizer"
        raise invalid("parse_special", why, "unsupported_parameter")
    try:
        with llm.tokenizing.admission.admitted(1):
            return [Tokens(tuple(await llm.tokenizing.encode(llm.engine, marked(parts))))]
    except EngineError as error:
        raise from_engine(error, "prompt") from error
