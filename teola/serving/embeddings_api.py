"""`POST /v1/embeddings`."""

import base64
import json
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Annotated, Any, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from backends.base import Request as EngineRequest
from backends.base import Result, Tokens
from backends.errors import EngineError
from teola.serving.api_errors import from_engine, invalid
from teola.serving.bodies import bodies_of
from teola.serving.disconnect import while_connected
from teola.serving.fields import INT_END, Fields, TokenId, read
from teola.serving.served_engines import engines_of

Vector = NDArray[np.float32]  # [D]
Vectors = NDArray[np.float32]  # [N, D]
_MAX_INPUTS = 4096
_SomeIds = Annotated[list[TokenId], Field(min_length=1)]
_Many = Field(min_length=1, max_length=_MAX_INPUTS)
Inputs = str | Annotated[list[str], _Many] | _SomeIds | Annotated[list[_SomeIds], _Many]
_LIGHT_NUMBERS = 16_384  # written as text in some milliseconds, on the loop


def _as_inputs(value: object) -> object:
    """A list of inputs, whichever of OpenAI's four forms is given."""
    is_one = isinstance(value, str) or (
        isinstance(value, list) and value and all(type(item) is int for item in value)
    )
    return [value] if is_one else value


class EmbeddingFields(Fields):
    """Texts, or token ids of the embedder's own tokenizer."""

    derived = ("items",)

    model: str | None = None
    input: Annotated[
        list[str] | list[_SomeIds],
        _Many,
        BeforeValidator(_as_inputs, json_schema_input_type=Inputs),
    ]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, lt=INT_END)

    @cached_property
    def items(self) -> list[str | Tokens]:
        return [item if isinstance(item, str) else Tokens(tuple(item)) for item in self.input]


async def embed(request: Request) -> Response:
    """One unit vector an input, in order; those whose ends the model did not read are marked."""
    fields = await read(request, EmbeddingFields)
    engines = engines_of(request)
    served = engines.find("embedder", fields.model)
    items = fields.items
    if "token_ids" not in served.capabilities and any(isinstance(item, Tokens) for item in items):
        raise invalid("input", f"{served.name} does not offer token ids", "unsupported_parameter")
    job = EngineRequest(uuid4().hex, "embed", (items,), num_items=len(items))
    try:
        with served.admission.admitted(1):
            result = await while_connected(request.receive, served.run(job))
    except EngineError as error:
        raise from_engine(error, "input") from error
    vectors = _cut(result.outputs[0], fields.dimensions, served.name)
    write = partial(_body, served.name, result, vectors, fields.encoding_format)
    body = write() if vectors.size <= _LIGHT_NUMBERS else await bodies_of(request).apart(write)
    return Response(body, media_type="application/json")


def _body(model: str, result: Result, vectors: Vectors, encoding: str) -> bytes:
    """Written vector by vector: other threads run in between."""
    num_tokens = result.usage.prefill_tokens  # 0 where a server of others does not say
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    warning = _warning(result.cut, len(vectors))
    head = json.dumps({"object": "list", "model": model, "usage": usage, **warning})
    cut = frozenset(result.cut)
    entries = (
        json.dumps(_entry(index, vector, encoding, index in cut))
        for index, vector in enumerate(vectors)
    )
    return f'{head[:-1]}, "data": [{", ".join(entries)}]}}'.encode()


def _entry(index: int, vector: Vector, encoding: str, is_cut: bool) -> dict[str, Any]:
    entry = {"object": "embedding", "index": index, "embedding": _written(vector, encoding)}
    return {**entry, "truncated": True} if is_cut else entry


def _warning(cut: Sequence[int], num: int) -> dict[str, str]:
    if not cut:
        return {}
    said = f"{len(cut)} of {num} inputs have more tokens than the model reads: their ends were left"
    return {"warning": f"{said} out, and their entries in data have truncated: true"}


def _cut(vectors: Vectors, dimensions: int | None, name: str) -> Vectors:
    """The first so many dimensions, of unit length again."""
    most = vectors.shape[1]
    if dimensions is None or dimensions == most:
        return vectors
    if dimensions > most:
        raise invalid("dimensions", f"the vectors of {name} have {most} dimensions, and no more")
    first = vectors[:, :dimensions]
    lengths = np.linalg.norm(first, axis=1, keepdims=True)
    unit: Vectors = first / np.maximum(lengths, np.float32(1e-12))
    return unit


def _written(vector: Vector, encoding: str) -> Any:
    if encoding == "float":
        return vector.tolist()
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
