"""A server with another tokenizer would be given ids that mean other texts: asked once."""

from typing import Protocol

from backends.errors import EngineUnavailable
from backends.llm.requests.prompt_encoder import PromptEncoder

PROBE = (
    "Teola 3.14: naïve café, 日本語 и 🙂\n\tif x_1 >= 42:\r\n        return  {'a': [0, 1]}  # don't"
)


class Tokenizes(Protocol):
    """What a dialect offers for it."""

    name: str

    async def tokenize(self, text: str) -> list[int] | None: ...


async def check_same_tokenizer(dialect: Tokenizes, prompts: PromptEncoder, model: str) -> None:
    """Raises EngineUnavailable where the server's ids of a text are not ours."""
    theirs = await dialect.tokenize(PROBE)
    if theirs is None:
        return
    ours = prompts.tokenizer.encode_text(PROBE)
    bos = prompts.tokenizer.bos_id
    if theirs != ours and theirs != [bos, *ours]:
        raise EngineUnavailable(
            f"{model}: the tokenizer given is not the server's: {dialect.name} makes "
            f"{len(theirs)} tokens of a text of which it makes {len(ours)}, or other ones. Give "
            "the option tokenizer the name or folder of the server's model, or tokenizer='server'"
        )
