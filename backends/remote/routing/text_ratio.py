"""How many tokens a byte of text has, learned from what servers count."""

from backends.base import Usage
from backends.remote.routing.prompt_pages import Prompt

FIRST = 0.25
KEPT = 0.95  # of what was seen before, with each answer


class TextRatio:
    """One for all endpoints: they have the same model."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._bytes = 0.0

    @property
    def tokens_per_byte(self) -> float:
        return self._tokens / self._bytes if self._tokens > 0 else FIRST

    def observe(self, prompt: Prompt, usage: Usage) -> None:
        num_tokens = usage.prefill_tokens + usage.cached_tokens - prompt.num_ids
        if num_tokens > 0 and prompt.num_bytes:
            self._tokens = KEPT * self._tokens + num_tokens
            self._bytes = KEPT * self._bytes + prompt.num_bytes
