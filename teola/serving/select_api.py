"""`POST /v1/select`: which of several texts the model finds likeliest after a prompt.

OpenAI has no such route. Each choice is scored by its log-probability, as the engine's `select`.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import Field
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from backends.base import Context, Part, Request, Result
from backends.errors import EngineError
from backends.request_limits import MAX_CHOICES, MAX_NAME_CHARS
from teola.serving.api_errors import from_engine
from teola.serving.clients import service_for
from teola.serving.disconnect import while_connected
from teola.serving.fields import INT_END, Fields, TokenId, read
from teola.serving.metrics import Metrics
from teola.serving.place_fields import PlaceFields
from teola.serving.prompt_parts import Fusion, PromptPart, parts_of
from teola.serving.served import Served, Service, fused
from teola.serving.served_engines import engines_of
from teola.serving.token_counts import prompt_counts


class SelectFields(Fields):
    """A prompt and what may follow it."""

    model: str | None = None
    prompt: Annotated[str | list[TokenId] | list[PromptPart], Field(min_length=1)]
    choices: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, max_length=MAX_CHOICES)
    score: Literal["mean", "sum"] = "mean"
    priority: int = Field(0, ge=-INT_END, lt=INT_END)  # higher goes first
    place: PlaceFields | None = None  # in the query that waits for the answer
    cache_salt: str | None = Field(None, min_length=1, max_length=MAX_NAME_CHARS)
    fusion: Fusion | None = None  # how the KV of the prompt's chunks is reused


async def select(request: HTTPRequest) -> Response:
    """The best choice, and the score of each."""
    fields = await read(request, SelectFields)
    engines = engines_of(request)
    llm = engines.find("llm", fields.model)
    parts = parts_of(fields.prompt)
    service = service_for(request, engines, fields)
    llm.check_can(parts, {"select": fields.choices}, fusion=fields.fusion)
    try:
        with llm.admission.admitted(1):
            work = _selected(llm, fields, parts, service, engines.metrics)
            body = await while_connected(request.receive, work)
    except EngineError as error:
        raise from_engine(error, "prompt") from error
    return JSONResponse({"object": "select", "model": llm.name_for(fields.model), **body})


async def _selected(
    llm: Served, fields: SelectFields, parts: Sequence[Part], service: Service, metrics: Metrics
) -> dict[str, Any]:
    attrs = llm.prompt_attrs(fields.model, fields.cache_salt)

    async def call(op: str, inputs: tuple[Any, ...], own: Mapping[str, Any]) -> Result:
        request = Request(uuid4().hex, op, inputs, {**attrs, **own})
        request.priority, request.place = service.priority, service.place
        result = await llm.run(request)
        metrics.count(result)
        return result

    prefill = await call("prefill", (None, *parts), fused(fields.fusion))
    context: Context = prefill.outputs[0]
    try:
        result = await call("select", (context, fields.choices), {"score": fields.score})
    finally:
        context.release()
    choice, scores, after = result.outputs
    after.release()
    counts = prompt_counts(prefill)
    return {
        "index": fields.choices.index(choice),
        "choice": choice,
        "scores": scores,
        "usage": counts.body,
    }
