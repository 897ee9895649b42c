"""Every route of a service of apps, and what each of them reads and answers."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teola.app_serving.answer_types import (
    AppCard,
    AppList,
    AppModel,
    AppModelList,
    RunAnswer,
    RunList,
)
from teola.app_serving.app_operations import RUN_ERRORS, AppOperations
from teola.app_serving.chat_api import chat
from teola.app_serving.chat_fields import AppChatFields
from teola.app_serving.going_on_api import (
    ApproveFields,
    ResumeFields,
    approve_run,
    resume_run,
)
from teola.app_serving.models_api import model, models
from teola.app_serving.run_list import PARAMETERS
from teola.app_serving.runs_api import (
    cancel_run,
    get_app,
    get_run,
    list_apps,
    list_runs,
    start_run,
)
from teola.app_serving.service import AppService, service_of
from teola.serving.answer_types.chat import ChatAnswer, ChatChunk
from teola.serving.answer_types.server import HealthAnswer
from teola.serving.api_errors import ApiError, ErrorBody
from teola.serving.metrics import CONTENT_TYPE
from teola.serving.openapi import EVENTS, Answer, Operation, document_route


async def health(request: Request) -> Response:
    """200 when runs are taken; 503 before and after."""
    if not service_of(request).is_ready:
        raise ApiError(503, "the server is starting, or closing", code="not_ready")
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(service_of(request).metrics.text(), headers={"content-type": CONTENT_TYPE})


OPERATIONS = (
    Operation("/v1/apps", list_apps, answers=(Answer(AppList),)),
    Operation("/v1/apps/{name}", get_app, answers=(Answer(AppCard),), errors=(404,)),
    Operation("/v1/runs", list_runs, answers=(Answer(RunList),), query=PARAMETERS),
    Operation("/v1/runs/{id}", get_run, answers=(Answer(RunAnswer),), errors=(404,)),
    Operation(
        "/v1/runs/{id}/cancel",
        cancel_run,
        answers=(Answer(RunAnswer),),
        errors=(404, 409),
        method="POST",
    ),
    Operation(
        "/v1/runs/{id}/approve",
        approve_run,
        ApproveFields,
        (Answer(RunAnswer, 202, about="The run, which goes on."),),
        (404, 409),
    ),
    Operation(
        "/v1/runs/{id}/resume",
        resume_run,
        ResumeFields,
        (Answer(RunAnswer, 202, about="The run, which goes on."),),
        (404, 409),
    ),
    Operation(
        "/v1/chat/completions",
        chat,
        AppChatFields,
        (Answer(ChatAnswer), Answer(ChatChunk | ErrorBody, media=EVENTS)),
        RUN_ERRORS,
    ),
    Operation("/v1/models", models, answers=(Answer(AppModelList),)),
    Operation("/v1/models/{name:path}", model, answers=(Answer(AppModel),), errors=(400, 404)),
    Operation("/health", health, answers=(Answer(HealthAnswer),), is_open=True),
    Operation(
        "/metrics", metrics, answers=(Answer({"type": "string"}, media="text/plain"),), is_open=True
    ),
)


def routes_of(service: AppService) -> list[Route]:
    """With the document, which has a path for each app."""
    runs = AppOperations(service.apps.values())
    return [
        *(operation.route for operation in OPERATIONS),
        Route("/v1/apps/{name}/runs", start_run, methods=["POST"]),
        document_route((*OPERATIONS, *runs.operations), runs.schemas),
    ]
