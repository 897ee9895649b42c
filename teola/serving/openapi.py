"""The OpenAPI document of the server, made of the models that read its bodies."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teola import __version__
from teola.serving.fields import Fields

_REF = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


class Operation(NamedTuple):
    """A route with the model of its body; None for a GET."""

    path: str
    endpoint: Any
    fields: type[Fields] | None = None
    answers: str = "application/json"

    @property
    def route(self) -> Route:
        return Route(self.path, self.endpoint, methods=["GET" if self.fields is None else "POST"])


def document_route(operations: Sequence[Operation]) -> Route:
    """`GET /openapi.json`."""
    made = document(operations)

    async def openapi(_: Request) -> Response:
        return JSONResponse(made)

    return Route("/openapi.json", openapi)


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """OpenAPI 3.1."""
    models = {operation.fields for operation in operations if operation.fields is not None}
    ordered = sorted(models, key=lambda model: model.__name__)
    asked = [(model, "validation") for model in ordered]
    _, found = models_json_schema(asked, ref_template=_REF)  # type: ignore[arg-type]
    key = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "teola", "version": __version__},
        "paths": {operation.path: _path(operation) for operation in operations},
        "components": {
            "schemas": {**found.get("$defs", {}), "Error": _ERROR},
            "securitySchemes": {"key": key},
        },
        "security": [{}, {"key": []}],
    }


def _path(operation: Operation) -> Mapping[str, Any]:
    said = (operation.endpoint.__doc__ or "").strip()
    whole: dict[str, Any] = {operation.answers: {"schema": {}}}
    error = {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}}
    answers = {
        "200": {"description": "The answer.", "content": whole},
        "default": {"description": "What went wrong, as OpenAI writes it.", "content": error},
    }
    found: dict[str, Any] = {"summary": said.partition("\n")[0], "responses": answers}
    if operation.fields is None:
        return {"get": found}
    if "stream" in operation.fields.model_fields:
        whole["text/event-stream"] = {"schema": {"type": "string"}}
    ref = {"$ref": _REF.format(model=operation.fields.__name__)}
    body = {"required": True, "content": {"application/json": {"schema": ref}}}
    return {"post": {**found, "requestBody": body}}
