"""What a completion says of its prompt: `echo`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import nan

from backends.base import Part, TokenLogprob, Tokens
from teola.serving.api_errors import invalid
from teola.serving.pieces import Prompted
from teola.serving.served import Served
from teola.serving.tokenizing import HasTokenizer


@dataclass(frozen=True, slots=True)
class Echo:
    """The prompts of one request, before each of their `n` answers. Ids become texts when they are
    asked for: the engine has bounded them then."""

    prompts: Sequence[Sequence[Part]]
    n: int
    tokenizer: HasTokenizer | None  # None: all is text

    def text(self, index: int) -> str:
        """Of the prompt of an answer."""
        return "".join(map(self._text_of, self.prompts[index // self.n]))

    def tokens(self, prompt: Prompted, answer: Iterable[TokenLogprob]) -> list[TokenLogprob]:
        """Of prompt and answer, each with a text, markup too: clients count them. The first has no
        log-probability."""
        first = (TokenLogprob(token, b"", nan) for token in prompt.ids[:1])
        return [self._named(token) for token in (*first, *prompt.logprobs, *answer)]

    def _text_of(self, part: Part) -> str:
        return self._decoded(part.ids) if isinstance(part, Tokens) else str(part)

    def _named(self, token: TokenLogprob) -> TokenLogprob:
        raw = token.raw or self._decoded((token.id,)).encode()
        return replace(token, raw=raw, top=tuple(map(self._named, token.top)))

    def _decoded(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids) if self.tokenizer is not None else ""


def echo_of(llm: Served, prompts: Sequence[Sequence[Part]], n: int, logprobs: int | None) -> Echo:
    """Raises ApiError where tokens would have to be told and cannot be."""
    tokenizer = llm.engine if isinstance(llm.engine, HasTokenizer) else None
    has_ids = any(isinstance(part, Tokens) for parts in prompts for part in parts)
    if tokenizer is None and (has_ids or logprobs is not None):
        why = f"{llm.name} does not show its tokenizer: give the prompt as text, without logprobs"
        raise invalid("echo", why, "unsupported_parameter")
    if logprobs is not None and "prompt_logprobs" not in llm.capabilities:
        why = f"{llm.name} does not tell the log-probabilities of prompts"
        raise invalid("echo", why, "unsupported_parameter")
    return Echo(prompts, n, tokenizer)
