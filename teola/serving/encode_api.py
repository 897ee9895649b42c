"""`POST /v1/encode`: the KV of chunks, computed before a prompt asks for it.

OpenAI has no such route. Each chunk is encoded behind what stands before the first of them, as the
engine's `encode`; fused prompts that begin so read it. A plan with `+alone` encodes it behind
nothing, for prompts of that plan.
"""

from functools import cached_property
from uuid import uuid4

from pydantic import Field, model_validator
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from backends.base import Part, Request
from backends.errors import EngineError
from backends.request_limits import MAX_NAME_CHARS
from teola.serving.api_errors import from_engine, invalid
from teola.serving.chat_message import Message, conversation
from teola.serving.disconnect import while_connected
from teola.serving.fields import INT_END, Fields, read
from teola.serving.priorities import granted
from teola.serving.prompt_parts import Fusion, PromptPart, parts_of
from teola.serving.served import fused
from teola.serving.served_engines import engines_of
from teola.serving.token_counts import TokenCounts


class EncodeFields(Fields):
    """The head that prompts share, then chunks: in pieces, or as the messages of a chat."""

    derived = ("parts",)

    model: str | None = None
    prompt: list[PromptPart] | None = Field(None, min_length=1)
    messages: list[Message] | None = Field(None, min_length=1)
    fusion: Fusion | None = None  # the prompts' plan, which may say how chunks are encoded
    priority: int = Field(0, ge=-INT_END, lt=INT_END)  # higher goes first
    cache_salt: str | None = Field(None, min_length=1, max_length=MAX_NAME_CHARS)

    @model_validator(mode="after")
    def _one_prompt(self) -> "EncodeFields":
        if (self.prompt is None) == (self.messages is None):
            raise invalid("prompt", "give either prompt or messages")
        return self

    @cached_property
    def parts(self) -> list[Part]:
        if self.messages is not None:
            return conversation(self.messages, opens_answer=False)
        return parts_of(self.prompt or ())


async def encode_chunks(request: HTTPRequest) -> Response:
    """How many of the chunks were not there."""
    fields = await read(request, EncodeFields)
    engines = engines_of(request)
    llm = engines.find("llm", fields.model)
    parts, given = fields.parts, "prompt" if fields.messages is None else "messages"
    llm.check_can(parts, {"encode": True}, fusion=fields.fusion)
    attrs = {**llm.prompt_attrs(fields.model, fields.cache_salt), **fused(fields.fusion)}
    priority = granted(request.scope, engines.rules.priority, fields.priority)
    job = Request(uuid4().hex, "encode", (None, *parts), attrs, priority=priority)
    try:
        with llm.admission.admitted(1):
            result = await while_connected(request.receive, llm.run(job))
    except EngineError as error:
        raise from_engine(error, given) from error
    engines.metrics.count_encoded(result)
    usage, num_encoded = result.usage, result.outputs[0]
    counts = TokenCounts(usage.prefill_tokens + usage.cached_tokens, usage.cached_tokens)
    head = {"object": "encode", "model": llm.name_for(fields.model)}
    return JSONResponse({**head, "num_encoded": num_encoded, "usage": counts.body})
