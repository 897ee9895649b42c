"""Validation and tokenisation: from a Request to its sequences. Every refusal happens here.

Callable from any thread. Tokenising and compiling grammars take most of the time.
"""

from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence as Items
from typing import Any

from backends.base import Part, Request
from backends.errors import RequestRejected, RequestTooLong
from backends.llm.fusion.link import Placed, Stage
from backends.llm.fusion.prompt import encode_fused
from backends.llm.kv.page_table import PageTable
from backends.llm.lora.adapter import Adapter
from backends.llm.lora.pool import AdapterPool
from backends.llm.requests.inputs import (
    PROMPTS_TAKE,
    check_ids,
    choices_of,
    choose_salt,
    linked_parts_of,
    num_logprobs,
    score_of,
)
from backends.llm.requests.open_turn import Open, tools_of, with_tools
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.requests.sampling import GrammarSource, Sampling, sampling_from
from backends.llm.sample.grammar import Grammars, Matcher
from backends.llm.sample.logits_processors import logits_processor_of
from backends.llm.sample.random_numbers import stream_of
from backends.llm.sequence.generation import Generation, Scoring
from backends.llm.sequence.group import Group, alone, join_choices, join_samples
from backends.llm.sequence.sequence import LLMContext, Sequence
from backends.llm.sequence.tool_decoding import ToolDecoding
from backends.llm.text.stop import StopScanner
from backends.tool_calls.tools import Toolset, choose_tools


class RequestValidator:
    """Checks and tokenises requests of one engine. Raises RequestRejected and RequestTooLong."""

    def __init__(
        self,
        prompts: PromptEncoder,
        grammars: Grammars,
        adapters: AdapterPool,
        released: deque[PageTable],
        max_context_tokens: int,
        pool_tokens: int,
        vocab_size: int,
        jump_forward: bool,
        speculates: bool,
    ) -> None:
        self._prompts = prompts
        self._grammars = grammars
        self._adapters = adapters
        self._released = released
        self._max_context_tokens = max_context_tokens
        self._most_tokens = min(max_context_tokens, pool_tokens + 1)
        self._pool_tokens = pool_tokens
        self._vocab_size = vocab_size
        self._jump_forward = jump_forward
        self._speculates = speculates

    def group(self, request: Request) -> Group:
        if request.op == "prefill":
            return self._prefill(request)
        if request.op == "decode":
            return self._decode(request)
        if request.op == "select":
            return self._select(request)
        raise RequestRejected(
            f"an LLM engine has no op {request.op!r}; it has prefill, decode and select"
        )

    def encode(self, parts: Items[Part], attrs: Mapping[str, Any], *, is_start: bool) -> list[int]:
        """The ids of a prompt that begins a context, with `attrs` for tools; without `is_start`
        those of a text that goes on."""
        turn = with_tools(None, choose_tools(attrs, None, is_start=True))
        return self._encode(parts, [], turn, is_start=is_start)[0]

    def _prefill(self, request: Request) -> Group:
        stage = request.attrs.get("stage")
        more = "stage" if isinstance(stage, Stage) else "logprobs"
        if unknown := sorted(request.attrs.keys() - PROMPTS_TAKE - {more}):
            known = ", ".join(sorted({*PROMPTS_TAKE, "logprobs"}))
            raise RequestRejected(f"prefill takes no attributes but {known}, got {unknown}")
        parent = self._context(request)
        adapter = choose_adapter(self._adapters, request, parent)
        ids, turn, placed = self._prompt(request, parent)
        self._check_fits(len(ids), num_new=0, adapter=adapter)
        salt = choose_salt(request, parent)
        scoring = _scoring_of(request, parent)
        sequence = Sequence(
            request, 0, parent, ids, turn, adapter=adapter, salt=salt, scoring=scoring
        )
        sequence.placed = placed
        sequence.stage = stage
        return Group(request, [sequence], alone)

    def _decode(self, request: Request) -> Group:
        parent = self._context(request)
        ids, turn, _ = self._prompt(request, parent)
        if not ids:
            raise RequestRejected("decode needs at least one token of context; prefill some text")
        adapter = choose_adapter(self._adapters, request, parent)
        salt = choose_salt(request, parent)
        sampling = sampling_from({k: v for k, v in request.attrs.items() if k not in PROMPTS_TAKE})
        check_ids(sampling.logit_bias, "logit_bias", self._vocab_size)
        check_ids(sampling.stop_token_ids, "stop_token_ids", self._vocab_size)
        if sampling.speculate and not self._speculates:
            raise RequestRejected("speculate=True needs an engine with the option speculation")
        if sampling.n > 1 and request.emit is not None:
            raise RequestRejected("n samples cannot be streamed as one; stream n decodes")
        self._check_fits(len(ids), num_new=1, adapter=adapter)
        sequences = [
            Sequence(
                request,
                0,
                parent,
                list(ids),
                turn,
                self._generation(sampling, ids, adapter, number, tools_of(turn)),
                adapter,
                salt=salt,
            )
            for number in range(sampling.n)
        ]
        return Group(request, sequences, join_samples if sampling.n > 1 else alone)

    def _generation(
        self,
        sampling: Sampling,
        prompt: Items[int],
        adapter: Adapter | None,
        number: int,
        tools: Toolset | None,
    ) -> Generation:
        # The last token's KV is never needed, so the pool may be one token shorter.
        room = min(self._max_context_tokens, self._room(adapter) + 1) - len(prompt)
        end_ids = (*self._prompts.stop_ids, *sampling.stop_token_ids)
        decoding = ToolDecoding.of(tools, self._prompts)
        grammar = decoding.grammar(sampling)
        return Generation(
            sampling,
            max_new=min(sampling.max_tokens, room),
            stream=stream_of(None if sampling.seed is None else sampling.seed + number),
            detokenizer=decoding.detokenizer(),
            stops=StopScanner(sampling.stop),
            logits_processor=logits_processor_of(sampling, prompt, end_ids),
            matcher=None if grammar is None else self._matcher(grammar, decoding),
            turn=decoding.turn(),
            # Log-probabilities are wanted of every token, so each is sampled in a step of its own.
            may_jump=self._jump_forward and sampling.logprobs is None,
        )

    def _matcher(self, grammar: GrammarSource, decoding: ToolDecoding) -> Matcher:
        try:
            return self._grammars.matcher(grammar)
        except RequestRejected:
            decoding.check(self._grammars.matcher)
            raise

    def _select(self, request: Request) -> Group:
        parent = self._context_with_tokens(request)
        adapter = choose_adapter(self._adapters, request, parent)
        salt = choose_salt(request, parent)
        choices, score = choices_of(request), score_of(request)
        scorings = [Scoring(parent.num_tokens) for _ in choices]
        sequences = []
        for choice, scoring in zip(choices, scorings, strict=True):
            ids, turn = self._encode([choice], parent.ids, parent.turn)
            if len(ids) == parent.num_tokens:
                raise RequestRejected(f"choice {choice!r} has no token")
            self._check_fits(len(ids), num_new=0, adapter=adapter)
            sequences.append(
                Sequence(request, 0, parent, ids, turn, adapter=adapter, scoring=scoring, salt=salt)
            )
        return Group(request, sequences, join_choices(choices, scorings, score))

    def _prompt(
        self, request: Request, parent: LLMContext | None
    ) -> tuple[list[int], Open, list[Placed]]:
        """The ids of a context and of the parts after it, the turn that is then open, and what is
        read elsewhere."""
        parts = linked_parts_of(request.inputs[1:], self._vocab_size)
        ids, turn = (parent.ids, parent.turn) if parent else ([], None)
        tools = choose_tools(request.attrs, tools_of(turn), is_start=not ids)
        return encode_fused(self._encode, parts, ids, with_tools(turn, tools))

    def _encode(
        self, parts: Items[Part], ids: list[int], turn: Open, *, is_start: bool = True
    ) -> tuple[list[int], Open]:
        self._prompts.check_length(parts, self._most_tokens - len(ids), turn)
        new, turn = self._prompts.encode_more(parts, turn, is_start=is_start and not ids)
        if max(new, default=0) >= self._vocab_size:
            raise RequestRejected(
                f"a prompt has a token {max(new)}; ids of this model go from 0 to "
                f"{self._vocab_size - 1}: if it was a text, its tokenizer is another model's"
            )
        return [*ids, *new], turn

    def _context_with_tokens(self, request: Request) -> LLMContext:
        parent = self._context(request)
        if parent is None:
            raise RequestRejected(f"{request.op} takes one context first, and got none")
        if not parent.ids:
            raise RequestRejected(
                f"{request.op} needs at least one token of context; prefill some text"
            )
        return parent

    def _context(self, request: Request) -> LLMContext | None:
        given = request.inputs[0] if request.inputs else None
        if given is None:
            return None
        if not isinstance(given, LLMContext) or not given.is_of(self._released):
            what = "another engine's context" if isinstance(given, LLMContext) else repr(given)
            raise RequestRejected(f"the first input must be a context of this engine, not {what}")
        return given

    def _room(self, adapter: Adapter | None) -> int:
        """Tokens whose KV the pool takes beside the request's own adapter."""
        return self._pool_tokens - self._adapters.num_tokens(adapter)

    def _check_fits(self, num_prompt: int, num_new: int, adapter: Adapter | None) -> None:
        total = num_prompt + num_new
        limit, what, remedy = self._max_context_tokens, "the context", "shorten the prompt"
        room = self._room(adapter)
        if total <= limit and total - 1 > room:
            limit, what = room + 1, "the whole KV pool"
            if adapter is not None:
                what += f" beside {adapter}"
            remedy = "raise the option kv_tokens or shorten the prompt"
        if total > limit:
            wanted = f" and {num_new} to generate" if num_new else ""
            raise RequestTooLong(
                f"the prompt has {num_prompt} tokens{wanted}; {what} takes {limit}: {remedy}"
            )


def _scoring_of(request: Request, parent: LLMContext | None) -> Scoring | None:
    """Of a prefill whose log-probabilities are asked for."""
    num_top = Sampling(logprobs=num_logprobs(request)).logprobs
    if num_top is None:
        return None
    return Scoring(max(1, parent.num_tokens if parent else 0), num_top)


def choose_adapter(
    pool: AdapterPool, request: Request, parent: LLMContext | None
) -> Adapter | None:
    """None: the base model alone. Raises RequestRejected for an unknown name, and where KV of one
    adapter would be read with another's weights."""
    named = request.attrs.get("adapter")
    asked = pool.find(named) if named is not None else None
    if parent is None or not parent.ids:
        return asked
    made_with = parent.adapter
    if asked is not None and (made_with is None or made_with.digest != asked.digest):
        maker = (
            f"with adapter {made_with.name!r}" if made_with is not None else "without an adapter"
        )
        raise RequestRejected(
            f"this context was made {maker} and cannot go on with adapter {asked.name!r}, whose KV "
            "would be another: prefill the whole prompt with it"
        )
    return asked or _still_known(pool, made_with)


def _still_known(pool: AdapterPool, made_with: Adapter | None) -> Adapter | None:
    if made_with is None or made_with.is_known:
        return made_with
    found = pool.find(made_with.name)
    if found.digest != made_with.digest:
        raise RequestRejected(
            f"adapter {made_with.name!r} is another one now than when this context was made: "
            "prefill the prompt again"
        )
    return found
