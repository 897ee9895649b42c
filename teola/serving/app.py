"""The routes."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backends.errors import ConfigError
from teola import __version__
from teola.serving.access_log import Access
from teola.serving.answer_types import (
    ChatAnswer,
    CompletionAnswer,
    EmbeddingAnswer,
    EncodeAnswer,
    HealthAnswer,
    ModelCard,
    ModelList,
    RerankAnswer,
    ResponseAnswer,
    SelectAnswer,
    TextAnswer,
    TokensAnswer,
    VersionAnswer,
)
from teola.serving.api_errors import ApiError
from teola.serving.bodies import Bodies
from teola.serving.chat_api import ChatFields, chat
from teola.serving.completions_api import CompletionFields, complete
from teola.serving.edge import Edge
from teola.serving.embeddings_api import EmbeddingFields, embed
from teola.serving.encode_api import EncodeFields, encode_chunks
from teola.serving.error_answers import error_answers
from teola.serving.limits import DEFAULT_LIMITS, Limits
from teola.serving.metrics import CONTENT_TYPE
from teola.serving.openapi import EVENTS, Answer, Operation, document_route
from teola.serving.rerank_api import RerankFields, rerank
from teola.serving.response_fields import ResponseFields
from teola.serving.responses_api import respond
from teola.serving.select_api import SelectFields, select
from teola.serving.served_engines import ServedEngines, engines_of
from teola.serving.tokens_api import DetokenizeFields, TokenizeFields, detokenize, tokenize


def make_app(
    engines: ServedEngines,
    api_key: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    note: Callable[[Access], None] | None = None,
) -> Starlette:
    """An ASGI app over `engines`, which its caller starts and closes. Without a key everybody is
    let in; `note` is told of each request that was answered.

    Raises ConfigError for an empty key.
    """
    if api_key is not None and not api_key.strip():
        raise ConfigError("the key is empty; give none to serve everybody")
    app = Starlette(
        routes=[
            *(operation.route for operation in OPERATIONS),
            document_route(OPERATIONS),
        ],
        middleware=[Middleware(Edge, metrics=engines.metrics, api_key=api_key, note=note)],
        exception_handlers=error_answers(engines.metrics),
    )
    app.state.engines = engines
    app.state.bodies = Bodies(limits)
    return app


async def health(request: Request) -> Response:
    """200 when requests are answered; 503 before and after."""
    if not engines_of(request).is_ready:
        raise ApiError(503, "the server is loading its models", code="not_ready")
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(engines_of(request).metrics.text(), headers={"content-type": CONTENT_TYPE})


async def version(_: Request) -> Response:
    """The version of teola."""
    return JSONResponse({"version": __version__})


async def models(request: Request) -> Response:
    """All models of this server."""
    return JSONResponse({"object": "list", "data": engines_of(request).cards()})


async def model(request: Request) -> Response:
    """One model, by its name or URL."""
    name = request.path_params["name"]
    for card in engines_of(request).cards():
        if name in (card["id"], card["root"]):
            return JSONResponse(card)
    raise ApiError(404, f"there is no model {name!r} here", code="model_not_found", param="model")


_STREAM = Answer({"type": "string"}, media=EVENTS)
_UNKNOWN = (404,)  # the model
_RERANK = (rerank, RerankFields, (Answer(RerankAnswer),), _UNKNOWN)
OPERATIONS = (
    Operation("/v1/chat/completions", chat, ChatFields, (Answer(ChatAnswer), _STREAM), _UNKNOWN),
    Operation(
        "/v1/completions",
        complete,
        CompletionFields,
        (Answer(CompletionAnswer), _STREAM),
        _UNKNOWN,
    ),
    Operation(
        "/v1/responses", respond, ResponseFields, (Answer(ResponseAnswer), _STREAM), _UNKNOWN
    ),
    Operation("/v1/select", select, SelectFields, (Answer(SelectAnswer),), _UNKNOWN),
    Operation("/v1/encode", encode_chunks, EncodeFields, (Answer(EncodeAnswer),), _UNKNOWN),
    Operation("/v1/embeddings", embed, EmbeddingFields, (Answer(EmbeddingAnswer),), _UNKNOWN),
    Operation("/v1/rerank", *_RERANK),
    Operation("/v2/rerank", *_RERANK),  # other servers' names for it
    Operation("/rerank", *_RERANK),
    Operation("/v1/models", models, answers=(Answer(ModelList),)),
    Operation("/v1/models/{name:path}", model, answers=(Answer(ModelCard),), errors=_UNKNOWN),
    Operation("/tokenize", tokenize, TokenizeFields, (Answer(TokensAnswer),), _UNKNOWN),
    Operation("/detokenize", detokenize, DetokenizeFields, (Answer(TextAnswer),), _UNKNOWN),
    Operation("/health", health, answers=(Answer(HealthAnswer),), is_open=True),
    Operation(
        "/metrics", metrics, answers=(Answer({"type": "string"}, media="text/plain"),), is_open=True
    ),
    Operation("/version", version, answers=(Answer(VersionAnswer),)),
)
