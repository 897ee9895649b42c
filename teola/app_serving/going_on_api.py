"""`POST /v1/runs/{id}/approve` and `/resume`: runs on the disk go on, in the background."""

from typing import Any

from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from runtime.run_store.questions import NAME
from runtime.run_store.stored_run import InDoubt
from teola.app_serving.going_on import Answer, approve, resume
from teola.app_serving.runs_api import run_answer
from teola.app_serving.service import service_of
from teola.serving.fields import Fields, read


class ApproveFields(Fields):
    """The answer to what a run waits for: `approved`, or a `value` where it asks for one, null too;
    the run's `arguments` where they are not kept."""

    nullable = ("value",)

    approved: bool | None = None
    value: Any = None
    question: str | None = None  # its id, where the run waits for several answers
    by: str | None = Field(None, pattern=f"^{NAME}$")  # who answers, for those who ask later
    arguments: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_answer(self) -> "ApproveFields":
        no_answer = self.approved is None and "value" not in self.model_fields_set
        if no_answer or (self.approved is not None and self.value is not None):
            raise ValueError("give either approved, true or false, or a value")
        return self


class ResumeFields(Fields):
    """How a run goes on; `arguments` where they are not kept."""

    may_be_empty = True

    in_doubt: InDoubt = "stop"
    arguments: dict[str, Any] | None = None


async def approve_run(request: Request) -> Response:
    """Answers what a run waits for; it goes on in the background."""
    fields = await read(request, ApproveFields)
    given = fields.value if fields.approved is None else fields.approved
    answer = Answer(given, fields.question, fields.by or "")
    service, run_id = service_of(request), request.path_params["id"]
    return run_answer(await approve(service, run_id, answer, fields.arguments), 202)


async def resume_run(request: Request) -> Response:
    """Goes on with a run that ended without its result, in the background."""
    fields = await read(request, ResumeFields)
    service, run_id = service_of(request), request.path_params["id"]
    return run_answer(await resume(service, run_id, fields.in_doubt, fields.arguments), 202)
