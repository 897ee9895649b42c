"""What an engine is: it takes batches of requests of its kind and answers each one.

An engine never raises for one bad request among good ones: the exception stands in that
request's place in the answer. It states what it can do (`capabilities`) and nothing is faked.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from backends.place import Place
from backends.rate_limits import RateLimits
from backends.served import Served

Kind = Literal["llm", "embedder", "reranker", "store", "python"]
Capability = Literal[
    "prefill",  # a prompt may be prefilled apart from its decode
    "generate",  # whole prompts, one request each
    "warm_up",  # a prefill stays with the client, but for one that runs `ahead`: see Request
    "shares_in_flight",  # what prompts that run at the same time begin with is computed once
    "fork",  # a context may be read more than once
    "structured",  # decode takes a JSON schema and never leaves it
    "seed",  # sampling is repeatable
    "stream",  # decode emits text while it runs
    "abort",  # a running request can be stopped
    "cached_tokens",  # usage says how many prompt tokens came from a cache
    "token_ids",  # prompts, or texts to embed, may be given as token ids
    "select",  # choices are scored by their log-probabilities
    "logprobs",  # decode reports log-probabilities
    "prompt_logprobs",  # prefill reports those of the prompt's tokens
    "decode_parts",  # decode takes a prompt after its context, in no more steps than its prefill
    "next_use",  # `Expecting`: contexts are kept by when they are expected to be read
    "pin",  # `Pinning`: the KV of a context can be kept whatever else comes
    "adapters",  # prefill and decode take the name of a LoRA adapter
    "keeps",  # what was written to it is there when the process has ended
    "repeatable",  # equal requests get equal outcomes, in every run: they may be remembered
    "tools",  # prefill and decode take tools; decode's text is then the canonical turn
    "policies",  # its steps go by the policy that `Place.policy` names
    "guesses",  # `Place.is_guess` goes to it, and when that changes
    "priorities",  # what waits is ordered by `Request.priority`, which may be any integer
    "itl",  # steps are sized by the time that a decode wants between tokens, its `itl_s`
    "tool_grammar",  # calls are well-formed, and their arguments fit the tool's schema
    "fusion",  # prefill takes `fusion`: the KV of its chunks is reused wherever they stand; encode
]

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Turn:
    """Opens a chat turn inside a prompt: the engine writes its own template's markup here.

    Tool turns answer the calls of the assistant turn before them, in their order.
    """

    role: Role


@dataclass(frozen=True, slots=True)
class Tokens:
    """A piece of a prompt as token ids, taken as they are."""

    ids: tuple[int, ...]


class Chunk(str):
    """Text that recurs in other places of other prompts: a retrieved passage. Its KV is reused
    there if the request asks for `fusion`, which changes answers a little; else it is its text."""

    __slots__ = ()


class Marked(str):
    """Text whose markup is markup: a prompt that its writer put into a model's template. Engines
    with a tokenizer of their own read it."""

    __slots__ = ()


Part = str | Turn | Tokens  # one piece of a prompt; no token of markup is made from other text


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the schedulers need to know of an engine."""

    kind: Kind
    model: str  # what it runs, for people
    max_batch_items: int = 1  # most items in one execute()
    num_slots: int = 1  # execute() calls that may run at once
    capabilities: frozenset[Capability] = frozenset()
    max_context_tokens: int | None = None  # llm only
    device: str = ""  # engines that name the same share its time; empty: one of its own
    rate_limits: RateLimits | None = None  # what the scheduler keeps to, over all queries
    repeats: bool = False  # it sends again itself what failed: its errors are final


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request cost, counted by the engine that ran it."""

    prefill_tokens: int = 0  # prompt tokens computed
    cached_tokens: int = 0  # prompt tokens taken from a cache instead
    decode_tokens: int = 0  # sampled, the end of turn included
    forced_tokens: int = 0  # written without a step of their own: a grammar left no choice
    guessed_tokens: int = 0  # computed ahead on a guess
    accepted_tokens: int = 0  # guesses that came true; they count among decode_tokens too
    num_items: int = 0  # texts embedded, pairs scored, documents written ...
    remembered_items: int = 0  # answered from earlier work of equal content, at no cost
    fused_tokens: int = 0  # prompt tokens whose KV came from another place: not exact
    wasted_tokens: int = 0  # computed for nothing: on a wrong guess, or by the slower of two copies
    estimated_tokens: int = 0  # of the wasted ones: no engine counted them
    wasted_s: float = 0.0  # of tools that ran on a guess, for nothing


def total(usages: Iterable[Usage]) -> Usage:
    """The sum of each count."""
    rows = [astuple(usage) for usage in usages]
    return Usage(*map(sum, zip(*rows, strict=True)))


@runtime_checkable
class Context(Protocol):
    """The token state of one LLM sequence; immutable: prefill and decode return a new one."""

    @property
    def num_tokens(self) -> int: ...

    def release(self) -> None:
        """Give up this handle's claim on KV; safe to call twice and from any thread."""


@dataclass(slots=True, eq=False)
class Request:
    """One primitive at an engine. `inputs` are real values, in the order of the node's args.

    | op | inputs | attrs | outputs |
    |---|---|---|---|
    | embed | str, or list of str, Doc or Tokens | | float32 [D] or [N, D], unit length |
    | ingest | list[Doc], float32 [N, D] or None | | Index |
    | search | Index or None (all), str, float32 [D] or None; where | k, mode, where | list[Doc] |
    | count | | | int |
    | delete | ids or None, sources or None, Index that is kept or None | all | int |
    | rerank | query str, list[Doc] | k | list[Doc], best first |
    | prefill | Context or None, then Parts | see below | Context |
    | decode | Context or None, then Parts | see below | str, Context; for n > 1 lists of them |
    | encode | Context or None, then Parts | adapter, cache_salt, tools | int |
    | generate | Parts | those of decode | str; for n > 1 a list of them |
    | select | Context, list[str] | score | str, list[float], Context |
    | call | anything | fn (a callable), kwargs (names of the last inputs) | anything |

    A search takes `where` as its last input or as an attr, or has none. A deletion takes the ids of
    documents, sources (see `backends.sources`) or all; documents of the index that is kept stay,
    and their own sources count among the sources.

    An engine with `warm_up` keeps contexts with the client and sends the whole prompt with each
    decode. Its prefill costs nothing, unless `ahead` is true: then the server computes the prompt
    into its prefix cache, and the prefill ends when it has.

    A prefill takes adapter, cache_salt and the three of tools as a decode does, and `fusion`, the
    plan by which the KV of the prompt's chunks is reused wherever they stand: "reuse" or
    "lego(k)", which computes the first k tokens of each again. Left out, all of it is exact. An
    exact one takes `logprobs` too: that many likeliest tokens at each of its places, none of which
    then comes from a cache.

    encode computes the KV of the Chunks, each behind what stands before the first of them, and
    leaves it in the engine's cache for fused prefills of the same beginning; all else behind the
    first is passed over. It says how many chunks were not there. Engines with `fusion` run it.

    All attrs of decode may be left out:

    | attr | meaning |
    |---|---|
    | max_tokens, min_tokens | generated tokens; no end of turn and no stop before min_tokens |
    | stop, stop_token_ids | texts and tokens that end the output and are no part of it |
    | ignore_eos | generate past the end of turn |
    | temperature, top_k, top_p, min_p | 0 is greedy; what is cut off before a token is drawn |
    | seed | same tokens for the same context and attrs, whatever else runs |
    | presence_penalty, frequency_penalty | taken off logits of generated tokens, as OpenAI has it |
    | repetition_penalty | divides logits of all tokens seen, the prompt's too |
    | logit_bias | token id -> number added to its logit |
    | schema, regex, choices | JSON schema ({"type": "object"}: any object), pattern or list[str] |
    | logprobs | that many likeliest tokens at each place, in `Result.samples`; 0: the chosen only |
    | adapter | LoRA adapter's name; left out: the context's, which no other may follow |
    | cache_salt | KV is shared only under the same text; left out: the context's, as above |
    | tools | list of {"name", "description", "parameters": JSON schema}; see below |
    | tool_choice | "auto" (the default), "none", "required" or the name of a tool |
    | parallel_tool_calls | False: a turn has one call at most |
    | speculate | guess tokens ahead: False never, True always; left out: where the engine's pay |
    | n | samples with the seeds seed, seed + 1 ...; each as a decode of its own would be; no emit |

    Tools hold for a conversation: the prefill that opens it names them (or the decode, where that
    brings the whole prompt), and where `tools` or `tool_choice` are left out later, those named
    last hold. With tools, and whatever the choice, the text of a decode is the canonical turn: JSON
    {"content": ..., "calls": [{"id", "name", "arguments": JSON of an object}, ...]}, emitted as
    content comes and as each call is complete (`backends.tool_calls.turn`). The context holds what
    the model wrote, in the model's own format. An assistant turn whose text is a canonical turn is
    read as one: the engine writes it as its model does.

    select picks the choice that the model finds likeliest as the context's continuation. Its
    scores, one a choice, are sums of token log-probabilities, with score="mean" (the default)
    divided by the number of tokens. Its context holds the choice.
    """

    id: str  # 32 hex digits, never a prefix of another
    op: str
    inputs: tuple[Any, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    num_items: int = 1
    priority: int = 0  # larger is more urgent, among the requests of one engine
    place: Place | None = None  # None: of no query
    next_read_s: float | None = None  # from its end until its context is read; None: not known
    itl_s: float | None = None  # decode: the time wanted between tokens, where the engine has "itl"
    emit: Callable[[str], None] | None = None  # decode: called with each new piece of text
    # Called before it with the log-probabilities of its tokens, by engines that have them so early
    emit_logprobs: Callable[[tuple["TokenLogprob", ...]], None] | None = None
    is_heard: bool = False  # somebody listens: the result tells how it was served
    traceparent: str = ""  # W3C trace context of its span; remote engines send it on


FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely the model found a token: before penalties, bias, grammar and temperature."""

    id: int
    raw: bytes  # the token's own text, perhaps a part of a character; empty for markup
    logprob: float
    top: tuple["TokenLogprob", ...] = ()  # the likeliest at this place, best first


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for."""

    id: str
    name: str
    arguments: str  # JSON of an object; it may break the tool's schema without `tool_grammar`


@dataclass(frozen=True, slots=True)
class Sample:
    """How one output of a decode came about."""

    finish_reason: FinishReason
    stop: str | int | None = None  # the stop string or token that ended it, if one did
    logprobs: tuple[TokenLogprob, ...] = ()  # if asked for, one for each token sampled
    tool_calls: tuple[ToolCall, ...] = ()  # on engines with `tools`


@dataclass(frozen=True, slots=True)
class FusionReport:
    """What the KV of its chunks saved a fused prefill. Chunks that it had to encode first count in
    `Result.usage` and not here."""

    plan: str  # as the request names it
    num_chunks: int
    num_encoded: int  # chunks prefilled for this request; the others' KV was there
    num_tokens: int  # of the prompt, its context before included
    rows: tuple[int, ...]  # tokens computed on each layer, passes that only look included
    saved_s: float  # estimated seconds of the exact prefill less those of what was computed


@dataclass(frozen=True, slots=True)
class Result:
    """A finished request: one value for each output of the op."""

    outputs: tuple[Any, ...]
    usage: Usage = Usage()
    finish_reason: FinishReason | None = None  # decode only; "length" if any sample was cut
    samples: tuple[Sample, ...] = ()  # decode only, n of them
    endpoint: str = ""  # the one that answered, of an engine with several
    fusion: FusionReport | None = None  # of a prefill with the attribute `fusion`
    prompt_logprobs: tuple[TokenLogprob, ...] = ()  # prefill, if asked for: of all that is new, but
    # for the first token of a sequence
    served: Served | None = None  # of engines with steps of their own, if the request is heard
    cut: tuple[int, ...] = ()  # embed: the places of texts whose ends the model does not read


Outcome = Result | Exception


class Pinning(Protocol):
    """What an engine with the capability "pin" offers beside the protocol of all."""

    async def pin(self, context: Any) -> int:
        """Keep the KV that the context has now until its release; how many tokens. Raises
        EngineOverloaded where pins would take too much."""


class Expecting(Protocol):
    """What an engine with the capability "next_use" offers beside the protocol of all."""

    def expect(self, uses: Sequence[tuple[Any, float]]) -> None:
        """Contexts, and in how many seconds each is expected to be read; a later word replaces an
        earlier one. It changes what is evicted first, and nothing else: contexts of other engines
        and those that are gone pass. Any thread may call, nothing waits."""


class Engine(Protocol):
    """Runs batches of one kind. All methods are called on one event loop."""

    @property
    def info(self) -> EngineInfo: ...

    async def start(self) -> None:
        """Load what is needed; idempotent. Raises EngineUnavailable with what to do."""

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        """Run the requests together; outcomes in their order. Never blocks the loop."""

    def abort(self, request_id: str) -> None:
        """Stop a running request soon; its outcome is then an EngineError. Unknown ids pass."""

    async def close(self) -> None:
        """Free everything; idempotent."""
