"""Every route of the engine server, and what each of them reads and answers."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from teola import __version__
from teola.serving.answer_types.chat import ChatAnswer, ChatChunk
from teola.serving.answer_types.completions import CompletionAnswer, CompletionChunk
from teola.serving.answer_types.items import EmbeddingAnswer, RerankAnswer
from teola.serving.answer_types.own_routes import EncodeAnswer, ForesightAnswer, SelectAnswer
from teola.serving.answer_types.responses import ResponseAnswer, ResponseEvent
from teola.serving.answer_types.server import (
    HealthAnswer,
    ModelCard,
    ModelList,
    TextAnswer,
    TokenizerAnswer,
    TokensAnswer,
    VersionAnswer,
)
from teola.serving.api_errors import ApiError, ErrorBody
from teola.serving.chat_api import ChatFields, chat
from teola.serving.completions_api import CompletionFields, complete
from teola.serving.context_fields import ForesightFields
from teola.serving.embeddings_api import EmbeddingFields, embed
from teola.serving.encode_api import EncodeFields, encode_chunks
from teola.serving.foresight_api import foresee
from teola.serving.metrics import CONTENT_TYPE
from teola.serving.openapi import EVENTS, Answer, Operation
from teola.serving.rerank_api import RerankFields, rerank
from teola.serving.response_fields import ResponseFields
from teola.serving.responses_api import respond
from teola.serving.select_api import SelectFields, select
from teola.serving.served_engines import engines_of
from teola.serving.tokens_api import (
    DetokenizeFields,
    TokenizeFields,
    detokenize,
    tokenize,
    tokenizer_info,
)


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


_UNKNOWN = (404,)  # the model
_RERANK = (rerank, RerankFields, (Answer(RerankAnswer),), _UNKNOWN)
OPERATIONS = (
    Operation(
        "/v1/chat/completions",
        chat,
        ChatFields,
        (Answer(ChatAnswer), Answer(ChatChunk | ErrorBody, media=EVENTS)),
        _UNKNOWN,
    ),
    Operation(
        "/v1/completions",
        complete,
        CompletionFields,
        (Answer(CompletionAnswer), Answer(CompletionChunk | ErrorBody, media=EVENTS)),
        _UNKNOWN,
    ),
    Operation(
        "/v1/responses",
        respond,
        ResponseFields,
        (Answer(ResponseAnswer), Answer(ResponseEvent, media=EVENTS)),
        _UNKNOWN,
    ),
    Operation("/v1/select", select, SelectFields, (Answer(SelectAnswer),), _UNKNOWN),
    Operation("/v1/encode", encode_chunks, EncodeFields, (Answer(EncodeAnswer),), _UNKNOWN),
    Operation("/v1/foresight", foresee, ForesightFields, (Answer(ForesightAnswer),), _UNKNOWN),
    Operation("/v1/embeddings", embed, EmbeddingFields, (Answer(EmbeddingAnswer),), _UNKNOWN),
    Operation("/v1/rerank", *_RERANK),
    Operation("/v2/rerank", *_RERANK),  # other servers' names for it
    Operation("/rerank", *_RERANK),
    Operation("/v1/models", models, answers=(Answer(ModelList),)),
    Operation("/v1/models/{name:path}", model, answers=(Answer(ModelCard),), errors=_UNKNOWN),
    Operation("/tokenize", tokenize, TokenizeFields, (Answer(TokensAnswer),), _UNKNOWN),
    Operation(
        "/tokenizer_info",
        tokenizer_info,
        answers=(Answer(TokenizerAnswer),),
        errors=(400, *_UNKNOWN),
    ),
    Operation("/detokenize", detokenize, DetokenizeFields, (Answer(TextAnswer),), _UNKNOWN),
    Operation("/health", health, answers=(Answer(HealthAnswer),), is_open=True),
    Operation(
        "/metrics", metrics, answers=(Answer({"type": "string"}, media="text/plain"),), is_open=True
    ),
    Operation("/version", version, answers=(Answer(VersionAnswer),)),
)
