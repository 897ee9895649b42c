"""`POST /v1/rerank`, with the fields of Jina and Cohere."""

from typing import Annotated, Any
from uuid import uuid4

from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backends.base import Request as EngineRequest
from backends.documents import Doc
from backends.errors import EngineError
from teola.serving.api_errors import from_engine
from teola.serving.disconnect import while_connected
from teola.serving.fields import INT_END, Fields, read
from teola.serving.served_engines import engines_of


class Document(Fields):
    """A passage."""

    text: str


def _as_document(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


Passage = Annotated[Document, BeforeValidator(_as_document, json_schema_input_type=str | Document)]


class RerankFields(Fields):
    """A query, and passages as texts or as objects with a text."""

    model: str | None = None
    query: str
    documents: list[Passage] = Field(min_length=1, max_length=4096)
    top_n: int | None = Field(None, ge=1, lt=INT_END)
    return_documents: bool = True


async def rerank(request: Request) -> Response:
    """The passages, best first; `index` is a passage's place in the request."""
    fields = await read(request, RerankFields)
    engines = engines_of(request)
    served = engines.find("reranker", fields.model)
    docs = [Doc(document.text, id=str(i)) for i, document in enumerate(fields.documents)]
    attrs = {"k": fields.top_n}
    job = EngineRequest(uuid4().hex, "rerank", (fields.query, docs), attrs, num_items=len(docs))
    try:
        with served.admission.admitted(1):
            result = await while_connected(request.receive, served.run(job))
    except EngineError as error:
        raise from_engine(error, "documents") from error
    ranked: list[Doc] = result.outputs[0]
    found = [_written(doc, fields.return_documents) for doc in ranked]
    usage = {"total_tokens": result.usage.prefill_tokens}  # 0: a server of others does not say
    body = {"id": f"rerank-{uuid4().hex}", "model": served.name, "results": found, "usage": usage}
    return JSONResponse(body)


def _written(doc: Doc, with_text: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"index": int(doc.id), "relevance_score": doc.score}
    return {**found, "document": {"text": doc.text}} if with_text else found
