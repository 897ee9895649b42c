"""A draft model's token ids must mean what the target's do."""

from backends.errors import ConfigError
from backends.llm.model.config import ModelConfig
from backends.llm.text.tokenizer import Tokenizer


def check_same_vocabulary(target: Tokenizer, draft: Tokenizer, config: ModelConfig) -> None:
    """Raises ConfigError that names the first difference. `config` is the draft's; rows of its
    output beyond the vocabulary (padding) are no matter."""
    if config.vocab_size < target.vocab_size or draft.vocab_size != target.vocab_size:
        found = min(config.vocab_size, draft.vocab_size)
        raise ConfigError(
            f"the draft model knows {found} tokens and the model {target.vocab_size}: "
            "a draft needs the same vocabulary"
        )
    for token in range(target.vocab_size):
        if target.token(token) != draft.token(token):
            raise ConfigError(
                f"token {token} is {draft.token(token)!r} to the draft model and "
                f"{target.token(token)!r} to the model: a draft needs the same vocabulary"
            )
