"""From a Request to a Sequence: everything that can be refused is refused here."""

from collections import deque
from collections.abc import Sequence as Items

from backends.base import Part, Request, Turn
from backends.errors import RequestRejected, RequestTooLong
from backends.llm.chat import Role
from backends.llm.detokenizer import Detokenizer
from backends.llm.grammar import Grammars
from backends.llm.kv_cache import PageTable
from backends.llm.prompt import PromptEncoder
from backends.llm.sampler import make_rng
from backends.llm.sampling import sampling_from
from backends.llm.sequence import Generation, LLMContext, Sequence
from backends.llm.stop import StopScanner


class Intake:
    """Checks and tokenises requests of one engine. Raises RequestRejected and RequestTooLong."""

    def __init__(
        self,
        prompts: PromptEncoder,
        grammars: Grammars,
        released: deque[PageTable],
        max_context_tokens: int,
        pool_tokens: int,
    ) -> None:
        self._prompts = prompts
        self._grammars = grammars
        self._released = released
        self._max_context_tokens = max_context_tokens
        self._pool_tokens = pool_tokens

    def sequence(self, request: Request, arrival: int) -> Sequence:
        if request.op == "prefill":
            return self._prefill(request, arrival)
        if request.op == "decode":
            return self._decode(request, arrival)
        raise RequestRejected(f"an LLM engine has no op {request.op!r}; it has prefill and decode")

    def _prefill(self, request: Request, arrival: int) -> Sequence:
        if request.attrs:
            raise RequestRejected(f"prefill takes no attributes, got {sorted(request.attrs)}")
        parent = self._context(request)
        ids: list[int] = parent.ids if parent else []
        turn: Role | None = parent.turn if parent else None
        ids, turn = self._prompts.encode(_parts(request.inputs[1:]), ids, turn)
        self._check_fits(len(ids), num_new=0)
        return Sequence(request, arrival, parent, ids, turn)

    def _decode(self, request: Request, arrival: int) -> Sequence:
        parent = self._context(request)
        if len(request.inputs) != 1 or parent is None:
            raise RequestRejected("decode takes one context, and nothing else")
        if not parent.ids:
            raise RequestRejected("decode needs at least one token of context; prefill some text")
        sampling = sampling_from(request.attrs)
        num_prompt = parent.num_tokens
        self._check_fits(num_prompt, num_new=1)
        # The last token's KV is never needed, so the pool may be one token shorter.
        room = min(self._max_context_tokens, self._pool_tokens + 1) - num_prompt
        generation = Generation(
            sampling,
            max_new=min(sampling.max_tokens, room),
            detokenizer=Detokenizer(self._prompts.tokenizer),
            stops=StopScanner(sampling.stop),
            rng=make_rng(sampling),
            matcher=self._grammars.matcher(sampling.schema) if sampling.schema else None,
        )
        return Sequence(request, arrival, parent, list(parent.ids), parent.turn, generation)

    def _context(self, request: Request) -> LLMContext | None:
        given = request.inputs[0] if request.inputs else None
        if given is None:
            return None
        if not isinstance(given, LLMContext) or not given.is_of(self._released):
            what = "another engine's context" if isinstance(given, LLMContext) else repr(given)
            raise RequestRejected(f"the first input must be a context of this engine, not {what}")
        return given

    def _check_fits(self, num_prompt: int, num_new: int) -> None:
        total = num_prompt + num_new
        limit, what, remedy = self._max_context_tokens, "the context", "shorten the prompt"
        if total <= limit and total - 1 > self._pool_tokens:
            limit, what = self._pool_tokens + 1, "the whole KV pool"
            remedy = "raise the option kv_tokens or shorten the prompt"
        if total > limit:
            wanted = f" and {num_new} to generate" if num_new else ""
            raise RequestTooLong(
                f"the prompt has {num_prompt} tokens{wanted}; {what} takes {limit}: {remedy}"
            )


def _parts(inputs: Items[object]) -> list[Part]:
    parts: list[Part] = []
    for part in inputs:
        if not isinstance(part, str | Turn):
            raise RequestRejected(f"a prompt is made of text and turns, not {part!r}")
        parts.append(part)
    return parts
