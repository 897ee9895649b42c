"""`/v1/models`: each app that can chat is a model."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from teola.app_serving.served_app import ServedApp
from teola.app_serving.service import AppService, service_of
from teola.serving.api_errors import ApiError


async def models(request: Request) -> Response:
    """The apps that can chat."""
    service = service_of(request)
    cards = [app.card(service.created_s) for app in _models(service).values()]
    return JSONResponse({"object": "list", "data": cards})


async def model(request: Request) -> Response:
    """One app that can chat."""
    service = service_of(request)
    return JSONResponse(chat_app(service, request.path_params["name"]).card(service.created_s))


def chat_app(service: AppService, name: str | None) -> ServedApp:
    """The app of a model; the name may be left out where it is the only one. Raises ApiError."""
    found = _models(service)
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name is not None and name in found:
        return found[name]
    if name is not None and name in service.apps:
        raise ApiError(400, service.apps[name].why_no_chat, code="cannot_chat", param="model")
    have = ", ".join(found) or "none: no app of it can chat; GET /v1/apps says how each is run"
    if name is None:
        message = f"name a model; this server has {have}"
        raise ApiError(400, message, code="missing_required_parameter", param="model")
    message = f"there is no model {name[:100]!r} here; this server has {have}"
    raise ApiError(404, message, code="model_not_found", param="model")


def _models(service: AppService) -> dict[str, ServedApp]:
    return {name: app for name, app in service.apps.items() if app.chat is not None}
