"""From a request to what a server is asked. Callable from any thread; tokenising takes the time.

Raises RequestRejected and RequestTooLong, in the words of the embedded engine.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from backends.base import Part, Request
from backends.errors import RequestRejected, RequestTooLong
from backends.llm.requests.inputs import (
    PROMPTS_TAKE,
    Score,
    check_ids,
    choices_of,
    choose_salt,
    parts_of,
    score_of,
)
from backends.llm.requests.open_turn import tools_of, with_tools
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.requests.sampling import Sampling, sampling_from
from backends.llm.sequence.tool_decoding import ToolDecoding
from backends.remote.plan_named import plan_named
from backends.remote.token_mode.call import Call, Choice, Prompt
from backends.remote.token_mode.chunks import encode_chunks
from backends.remote.token_mode.context import TokenContext
from backends.remote.token_mode.tool_structure import structure_of
from backends.tool_calls.tools import choose_tools


@dataclass(frozen=True, slots=True)
class Decode:
    """A prompt and one call for each of its samples."""

    prompt: TokenContext
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Select:
    """A context and the token ids of what may follow it."""

    context: TokenContext
    prompt: Prompt
    choices: tuple[Choice, ...]
    score: Score


class RequestReader:
    """Reads the requests of one engine."""

    def __init__(
        self,
        prompts: PromptEncoder,
        server: str,
        max_context_tokens: int | None = None,
        *,
        fuses: bool = False,
    ) -> None:
        """`fuses`: the server reuses the KV of chunks."""
        self.prompts = prompts
        self._prefills_take = PROMPTS_TAKE | {"ahead"} | ({"fusion"} if fuses else set())
        self._server = server  # for errors
        self._max_context_tokens = max_context_tokens

    def prefill(self, request: Request) -> tuple[TokenContext, bool]:
        """The context and whether the server is to compute it now."""
        if unknown := sorted(request.attrs.keys() - self._prefills_take):
            known = ", ".join(sorted(self._prefills_take))
            raise RequestRejected(f"prefill takes no attributes but {known}, got {unknown}")
        context = self._prompt(request, self._parent(request), request.inputs[1:])
        self._check_fits(context.num_tokens, num_new=0)
        return context, bool(request.attrs.get("ahead"))

    def encode(self, request: Request) -> Prompt:
        """What stands before the chunks, and the chunks, which may be more than a context takes."""
        if unknown := sorted(request.attrs.keys() - PROMPTS_TAKE - {"fusion"}):
            raise RequestRejected(f"encode takes no attributes {unknown}")
        fusion = plan_named(request.attrs.get("fusion"), None)
        context = self._prompt(request, self._parent(request), request.inputs[1:])
        prompt = self.prompt_of(context, request)
        return replace(prompt, fusion=fusion, chunks=context.own_chunks)

    def decode(self, request: Request) -> Decode:
        return self._decode(request, self._parent(request), request.inputs[1:])

    def generate(self, request: Request) -> Decode:
        return self._decode(request, None, request.inputs)

    def select(self, request: Request) -> Select:
        parent = self._parent(request)
        choices, score = choices_of(request), score_of(request)
        if parent is None or not parent.num_tokens:
            raise RequestRejected("select needs at least one token of context; prefill some text")
        context = self._prompt(request, parent, ())
        found = []
        for choice in choices:
            ids, _ = self.prompts.encode_more([choice], context.turn, is_start=False)
            if not ids:
                raise RequestRejected(f"choice {choice!r} has no token")
            self._check_fits(context.num_tokens + len(ids), num_new=0)
            found.append(Choice(choice, ids))
        prompt = self.prompt_of(context, request)
        return Select(context, prompt, tuple(found), score)

    @staticmethod
    def prompt_of(context: TokenContext, request: Request) -> Prompt:
        """A context as a server is given it for a request."""
        return Prompt(
            id=request.id,
            ids=context.ids,
            priority=request.priority,
            place=request.place,
            adapter=context.adapter,
            salt=context.salt,
            fusion=context.fusion,
            chunks=context.chunks,
        )

    def _decode(
        self, request: Request, parent: TokenContext | None, inputs: Sequence[object]
    ) -> Decode:
        context = self._prompt(request, parent, inputs)
        if not context.num_tokens:
            raise RequestRejected("decode needs at least one token of context; prefill some text")
        sampling = self._sampling(request)
        if sampling.n > 1 and request.emit is not None:
            raise RequestRejected("n samples cannot be streamed as one; stream n decodes")
        self._check_fits(context.num_tokens, num_new=1)
        call = self._call(request, context, sampling)
        return Decode(context, tuple(_sample(call, number) for number in range(sampling.n)))

    def _call(
        self,
        request: Request,
        context: TokenContext,
        sampling: Sampling,
    ) -> Call:
        limit, ids = self._max_context_tokens, context.ids
        decoding = ToolDecoding.of(tools_of(context.turn), self.prompts)
        structure = structure_of(decoding, sampling)
        room = sampling.max_tokens if limit is None else limit - len(ids)
        ignores_ends = sampling.ignore_eos and sampling.grammar is None
        return Call(
            id=request.id,
            ids=ids,
            priority=request.priority,
            place=request.place,
            is_heard=request.is_heard,
            adapter=context.adapter,
            salt=context.salt,
            fusion=context.fusion,
            chunks=context.chunks,
            sampling=sampling if structure is None else _without_form(sampling),
            max_new=min(sampling.max_tokens, room),
            end_ids=() if ignores_ends else sorted(self.prompts.stop_ids),
            seed=sampling.seed,
            streams=request.emit is not None,
            tools=None if decoding.tools is None else decoding,
            structure=structure,
        )

    def _sampling(self, request: Request) -> Sampling:
        attrs = {name: value for name, value in request.attrs.items() if name not in PROMPTS_TAKE}
        sampling = sampling_from(attrs)
        _check_schema(sampling.schema)
        check_ids(sampling.logit_bias, "logit_bias", self._vocab_size)
        check_ids(sampling.stop_token_ids, "stop_token_ids", self._vocab_size)
        return sampling

    def _parent(self, request: Request) -> TokenContext | None:
        given = request.inputs[0] if request.inputs else None
        if given is None:
            return None
        if not isinstance(given, TokenContext) or given.prompts is not self.prompts:
            what = "one of another tokenizer" if isinstance(given, TokenContext) else repr(given)
            raise RequestRejected(f"the first input must be a context of this engine, not {what}")
        return given

    def _prompt(
        self, request: Request, parent: TokenContext | None, inputs: Sequence[object]
    ) -> TokenContext:
        """The context after a parent and parts."""
        adapter = _adapter_of(request, parent)
        salt = choose_salt(request, parent)
        is_encode = request.op == "encode"
        named = None if is_encode else request.attrs.get("fusion")
        fusion = plan_named(named, parent.fusion if parent else None)
        parts: list[Part] = parts_of(inputs, self._vocab_size)
        turn = parent.turn if parent is not None else None
        is_start = parent is None or not parent.num_tokens
        tools = choose_tools(request.attrs, tools_of(turn), is_start=is_start)
        turn = with_tools(turn, tools)
        num_before = parent.num_tokens if parent is not None else 0
        if self._max_context_tokens is not None and not is_encode:
            self.prompts.check_length(parts, self._max_context_tokens - num_before, turn)
        if named is None and not is_encode:
            ids, turn = self.prompts.encode_more(parts, turn, is_start=is_start)
            return TokenContext(self.prompts, parent, ids, turn, adapter, salt, fusion)
        ids, turn, chunks = encode_chunks(self.prompts, parts, turn, num_before)
        return TokenContext(self.prompts, parent, ids, turn, adapter, salt, fusion, chunks)

    def _check_fits(self, num_prompt: int, num_new: int) -> None:
        limit = self._max_context_tokens
        if limit is not None and num_prompt + num_new > limit:
            wanted = f" and {num_new} to generate" if num_new else ""
            raise RequestTooLong(
                f"the prompt has {num_prompt} tokens{wanted}; the context of {self._server} takes "
                f"{limit}: shorten the prompt"
            )

    @property
    def _vocab_size(self) -> int:
        return self.prompts.tokenizer.vocab_size


def _sample(call: Call, number: int) -> Call:
    """One of several: each has an id of its own, and the next seed."""
    if call.sampling.n == 1:
        return call
    seed = None if call.seed is None else call.seed + number
    return replace(call, id=uuid4().hex, seed=seed)


def _without_form(sampling: Sampling) -> Sampling:
    return replace(sampling, schema=None, regex=None, choices=None)


def _check_schema(schema: str | None) -> None:
    try:
        is_object = schema is None or isinstance(json.loads(schema), dict)
    except (ValueError, RecursionError) as error:
        raise RequestRejected(f"schema is not a JSON object: {error}") from error
    if not is_object:
        raise RequestRejected(f"schema is not a JSON object, but {schema}")


def _adapter_of(request: Request, parent: TokenContext | None) -> str | None:
    """The adapter that the request names, or its context's."""
    named = request.attrs.get("adapter")
    if named is not None and (not isinstance(named, str) or not named):
        raise RequestRejected(f"adapter must be the name of one, not {named!r}")
    if parent is None or not parent.num_tokens:
        return named
    if named is not None and named != parent.adapter:
        maker = f"with adapter {parent.adapter!r}" if parent.adapter else "without an adapter"
        raise RequestRejected(
            f"this context was made {maker} and cannot go on with adapter {named!r}, whose KV "
            "would be another: prefill the whole prompt with it"
        )
    return parent.adapter
