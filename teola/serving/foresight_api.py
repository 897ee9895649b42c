"""`POST /v1/foresight`: when contexts that are kept for a client are read next, which are not read
any more, and which guesses somebody waits for. OpenAI has no such route."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from teola.serving.api_errors import invalid
from teola.serving.client_rules import PriorityRule
from teola.serving.clients import client_of
from teola.serving.context_fields import ContextFields, ForesightFields
from teola.serving.fields import read
from teola.serving.kept_contexts import Keeping
from teola.serving.served import Served
from teola.serving.served_engines import ServedEngines, engines_of
from teola.serving.warnings_header import warn


async def foresee(request: Request) -> Response:
    """How many contexts are kept for all clients now."""
    fields = await read(request, ForesightFields)
    engines = engines_of(request)
    llm = engines.find("llm", fields.model)
    client = client_of(request, engines.rules)
    engines.queries.wanted(client, fields.wanted)
    speaks = fields.expected or fields.released
    if speaks and _keeps(request, engines, llm, "expected"):
        llm.kept.hear(client, fields, llm.engine)
    return JSONResponse({"object": "foresight", "num_kept": len(llm.kept)})


def keeping_of(
    request: Request, engines: ServedEngines, llm: Served, fields: ContextFields | None, num: int
) -> Keeping | None:
    """For a completion with `num` answers; None where nothing is to be kept. Raises ApiError."""
    if fields is None or not _keeps(request, engines, llm, "contexts"):
        return None
    if num != 1:
        raise invalid("contexts", "contexts are of one prompt with one answer: send several")
    return Keeping(llm.kept, client_of(request, engines.rules), llm.engine, fields)


def _keeps(request: Request, engines: ServedEngines, llm: Served, field: str) -> bool:
    """Whether it believes its clients: what is kept for one is taken from all."""
    if engines.keeps_contexts(llm):
        return True
    if engines.rules.priority == PriorityRule.ALLOW:
        why = f"{llm.name} does not order its cache by the next use (its eviction)"
        raise invalid(field, why, "unsupported_parameter")
    if engines.rules.priority == PriorityRule.REFUSE:
        why = f"{field}: this server keeps none for clients (its --client-priority)"
        raise invalid(field, why, "unsupported_parameter")
    warn(request.scope, f"{field}: without effect on this server")
    return False
