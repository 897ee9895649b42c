"""`POST /v1/embeddings`."""

import base64
from typing import Annotated, Any, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backends.base import Request as EngineRequest
from backends.errors import EngineError
from teola.serving.api_errors import from_engine, invalid
from teola.serving.decode_fields import listed
from teola.serving.disconnect import while_connected
from teola.serving.fields import INT_END, Fields, read
from teola.serving.served_engines import engines_of


class EmbeddingFields(Fields):
    """Texts; token ids are refused, since they would be another model's."""

    model: str | None = None
    input: Annotated[list[str], BeforeValidator(listed), Field(min_length=1, max_length=4096)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, lt=INT_END)


async def embed(request: Request) -> Response:
    """One unit vector a text, in order."""
    fields = await read(request, EmbeddingFields)
    engines = engines_of(request)
    served = engines.find("embedder", fields.model)
    job = EngineRequest(uuid4().hex, "embed", (fields.input,), num_items=len(fields.input))
    try:
        with served.admission.admitted(1):
            result = await while_connected(request.receive, served.run(job))
    except EngineError as error:
        raise from_engine(error, "input") from error
    vectors: NDArray[np.float32] = result.outputs[0]  # [N, D]
    if fields.dimensions not in (None, vectors.shape[1]):
        has = f"the vectors of {served.name} have {vectors.shape[1]} dimensions, and are not cut"
        raise invalid("dimensions", has)
    found = [
        {"object": "embedding", "index": index, "embedding": _written(vector, fields)}
        for index, vector in enumerate(vectors)
    ]
    num_tokens = result.usage.prefill_tokens  # 0 where a server of others does not say
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return JSONResponse({"object": "list", "data": found, "model": served.name, "usage": usage})


def _written(vector: NDArray[np.float32], fields: EmbeddingFields) -> Any:
    if fields.encoding_format == "float":
        return vector.tolist()
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
