"""OpenAPI documents, made of the types that read bodies and of those that describe answers.

Operation("/v1/things/{id}", get_thing, answers=(Answer(Thing),), errors=(404,))
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from teola import __version__
from teola.serving.api_errors import STATUSES, ErrorBody
from teola.serving.fields import Fields
from teola.serving.request_schema import as_read

JSON, EVENTS = "application/json", "text/event-stream"
BODY_ERRORS = (400, 408, 413, 415, 429)  # of every route that reads a body
_REF = "#/components/schemas/{model}"
_Mode = Literal["validation", "serialization"]
_HEADERS = {
    "X-Request-Id": "The request's own id, or one that was made for it.",
    "X-Teola-Warning": "What was asked for and has no effect.",
    "Retry-After": "Seconds after which to come again.",
}


class Answer(NamedTuple):
    """What a route answers when all is well. `body` is a type, or a JSON schema as a mapping; of a
    stream it is what an event has as its data."""

    body: Any
    status: int = 200
    media: str = JSON
    about: str = "The answer."


class Operation(NamedTuple):
    """A route with the type, or the JSON schema, of its body; None where it reads none."""

    path: str
    endpoint: Any
    fields: type[BaseModel] | Mapping[str, Any] | None = None
    answers: Sequence[Answer] = (Answer({}),)
    errors: Sequence[int] = ()  # beyond those of every route like it
    error_body: Any = ErrorBody  # a type, or a JSON schema
    method: str = ""  # "": POST where there is a body
    is_open: bool = False  # for those who have no key
    about: str = ""  # "": what the endpoint's docstring says
    parameters: Mapping[str, Any] = MappingProxyType({})  # schemas of the path's, else strings
    query: Mapping[str, Any] = MappingProxyType({})  # schemas of what may stand behind the path

    @property
    def verb(self) -> str:
        return self.method or ("GET" if self.fields is None else "POST")

    @property
    def route(self) -> Route:
        return Route(self.path, self.endpoint, methods=[self.verb])


def document_route(
    operations: Sequence[Operation], schemas: Mapping[str, Any] = MappingProxyType({})
) -> Route:
    """`GET /openapi.json`: of `operations`, and of itself."""

    async def openapi(_: Request) -> Response:
        """This document."""
        return JSONResponse(made)

    itself = Operation("/openapi.json", openapi, answers=(Answer({"type": "object"}),))
    made = document((*operations, itself), schemas)
    return itself.route


def document(
    operations: Sequence[Operation], schemas: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """OpenAPI 3.1; `schemas` are more components, for mappings that refer to them."""
    found = _Schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = re.sub(r":\w+}", "}", operation.path)
        paths.setdefault(path, {})[operation.verb.lower()] = _operation(operation, path, found)
    return {
        "openapi": "3.1.0",
        "info": {"title": "teola", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**found.components, **schemas},
            "headers": {name: _header(about) for name, about in _HEADERS.items()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


class _Schemas:
    """Of all types that operations name: each type once, among the components."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        types = {type_ for operation in operations for type_ in _types_of(operation)}
        adapters = {key: TypeAdapter[Any](key[0]) for key in types}
        ordered = sorted(adapters, key=lambda key: (str(key[0]), key[1]))
        asked: Any = [(key, key[1], adapters[key]) for key in ordered]
        refs, found = TypeAdapter.json_schemas(asked, ref_template=_REF)
        self._refs = {key[0]: schema for (key, _), schema in refs.items()}
        self.components = dict(found.get("$defs", {}))
        for type_, mode in ordered:
            if mode == "validation" and issubclass(type_, Fields):
                name = self._refs[type_]["$ref"].rpartition("/")[2]
                self.components[name] = as_read(self.components[name], type_.unsupported)

    def of_answer(self, answer: Answer) -> Any:
        """The schema of a body, or of each event of a stream."""
        schema = self.of(answer.body)
        return _event(schema) if answer.media == EVENTS else schema

    def of(self, shape: Any) -> Any:
        """A reference to the schema of a type; a mapping is a schema."""
        return shape if isinstance(shape, Mapping) else self._refs[shape]


def _types_of(operation: Operation) -> Iterator[tuple[Any, _Mode]]:
    if operation.fields is not None and not isinstance(operation.fields, Mapping):
        yield operation.fields, "validation"
    for body in (operation.error_body, *(answer.body for answer in operation.answers)):
        if not isinstance(body, Mapping):
            yield body, "serialization"


def _operation(operation: Operation, path: str, schemas: _Schemas) -> dict[str, Any]:
    said = operation.about or (operation.endpoint.__doc__ or "").strip()
    found: dict[str, Any] = {
        "summary": said.partition("\n")[0],
        "operationId": _id_of(operation.verb, path),
        "responses": _responses(operation, schemas),
    }
    named = re.findall(r"{(\w+)}", path)
    if named or operation.query:
        asked = [{"name": n, "in": "query", "schema": one} for n, one in operation.query.items()]
        found["parameters"] = [*(_parameter(n, operation.parameters) for n in named), *asked]
    if operation.is_open:
        found["security"] = [{}]
    if operation.fields is not None:
        content = {JSON: {"schema": schemas.of(operation.fields)}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _responses(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    reads = operation.fields is not None
    found: dict[str, Any] = {}
    for answer in operation.answers:
        names = ("X-Request-Id", "X-Teola-Warning") if reads else ("X-Request-Id",)
        first = {"description": answer.about, "headers": _headers(names), "content": {}}
        one = found.setdefault(str(answer.status), first)
        one["content"][answer.media] = {"schema": schemas.of_answer(answer)}
    errors = {*operation.errors, *(BODY_ERRORS if reads else ()), 500, 503}
    errors |= {400} if operation.query else set()
    for status in sorted(errors if operation.is_open else {*errors, 401, 403}):
        again = ("Retry-After",) if status in (429, 503) else ()
        found[str(status)] = {
            "description": STATUSES[status],
            "headers": _headers(("X-Request-Id", *again)),
            "content": {JSON: {"schema": schemas.of(operation.error_body)}},
        }
    return found


def _event(content: Any) -> dict[str, Any]:
    """Of a server-sent event, which tools read as an object."""
    text = {"type": "string", "contentMediaType": JSON, "contentSchema": content}
    fields = {"data": {"anyOf": [text, {"const": "[DONE]"}]}, "event": {"type": "string"}}
    return {"type": "object", "required": ["data"], "properties": fields}


def _parameter(name: str, schemas: Mapping[str, Any]) -> dict[str, Any]:
    schema = schemas.get(name, {"type": "string", "minLength": 1})
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _id_of(verb: str, path: str) -> str:
    return "_".join((verb.lower(), *re.findall(r"\w+", path)))


def _header(about: str) -> dict[str, Any]:
    return {"description": about, "schema": {"type": "string"}}


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
