"""The routes of a service for its OpenAPI document: a path for the runs of each app, with the
schemas of its arguments and of its result."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from teola.app_serving.answer_types import RunAnswer, RunEvent
from teola.app_serving.app_schema import description_of, input_schema, result_schema
from teola.app_serving.runs_api import RunFields, start_run
from teola.app_serving.served_app import ServedApp
from teola.serving.api_errors import ErrorBody
from teola.serving.fields import UNSUPPORTED
from teola.serving.openapi import EVENTS, Answer, Operation
from teola.serving.request_schema import as_read

RUN_ERRORS = (404, 409, 410, 504)
_REF = "#/components/schemas/"


class _WithoutNaN(GenerateJsonSchema):
    """JSON has no NaN and no infinity: they are null."""

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return {"anyOf": [super().float_schema(schema), {"type": "null"}]}


class AppOperations:
    """Of all apps; `schemas` are those that they refer to."""

    def __init__(self, apps: Iterable[ServedApp]) -> None:
        self.schemas: dict[str, Any] = {}
        self.operations = [self._run(app) for app in apps]

    def _run(self, app: ServedApp) -> Operation:
        arguments = self._own(app, partial(input_schema, app.app)) or {}
        result = self._own(app, partial(result_schema, app.app, generator=_WithoutNaN), "Result")
        body = f"{app.name}.Run"
        self.schemas[body] = _body(arguments)
        return Operation(
            f"/v1/apps/{app.name}/runs",
            start_run,
            {"$ref": f"{_REF}{body}"},
            (
                Answer(_run_with(result or {}), about="The run, which has completed."),
                Answer(RunEvent, media=EVENTS),
                Answer(
                    RunAnswer,
                    202,
                    about="The run, which is not at its end.",
                ),
            ),
            RUN_ERRORS,
            error_body=RunAnswer | ErrorBody,
            about=description_of(app.app) or f"Runs {app.name}.",
        )

    def _own(
        self, app: ServedApp, schema: Callable[..., dict[str, Any] | None], kind: str = "Argument"
    ) -> dict[str, Any] | None:
        """A schema whose definitions have moved to `schemas`, under names of their own."""
        before = f"{app.name}.{kind}."
        found = schema(ref_template=f"{_REF}{before}{{model}}")
        for name, definition in (found or {}).pop("$defs", {}).items():
            self.schemas[before + name] = {"additionalProperties": True, **definition}
        return found


def _body(arguments: dict[str, Any]) -> dict[str, Any]:
    schema = as_read(RunFields.model_json_schema(), UNSUPPORTED)
    if arguments.get("required"):
        return {
            **schema,
            "required": ["arguments"],
            "properties": {**schema["properties"], "arguments": arguments},
        }
    optional = {"anyOf": [arguments, {"type": "null"}]}
    return {**schema, "properties": {**schema["properties"], "arguments": optional}}


def _run_with(result: dict[str, Any]) -> dict[str, Any]:
    """A run that has completed."""
    schema = TypeAdapter(RunAnswer).json_schema(
        mode="serialization", ref_template=f"{_REF}{{model}}"
    )
    schema.pop("$defs")
    own = {"status": {"const": "completed"}, "error": {"type": "null"}, "result": result}
    return {**schema, "properties": {**schema["properties"], **own}}
