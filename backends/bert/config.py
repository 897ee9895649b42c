"""What a BERT's folder states, checked before anything is computed from it.

The sizes of config.json are bounded, every tensor has the shape that they ask for, and tokens lie
within the model's tables. So a misfit is a typed error, never a pointer beyond an array.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backends.bert.tokens import TextTokens
from backends.errors import EngineUnavailable, RequestRejected

Weights = Mapping[str, NDArray[np.float32]]  # by Hugging Face name, without a head's prefix
Shapes = Iterator[tuple[str, tuple[int, ...]]]
Size = Annotated[int, Field(ge=1, le=1 << 16)]
Rows = Annotated[int, Field(ge=1, le=1 << 22)]  # of an embedding table

_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class BertConfig:
    """What the computation needs to know of a folder."""

    num_layers: int
    hidden_size: int
    num_heads: int
    intermediate_size: int
    vocab_size: int
    num_types: int
    max_positions: int
    layer_norm_eps: float
    activation: str
    num_labels: int  # 0 for a plain encoder

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads


class _Stated(BaseModel):
    """The fields of config.json that are read; all others are ignored."""

    model_config = ConfigDict(strict=True)

    model_type: Literal["bert"]
    position_embedding_type: Literal["absolute"] = "absolute"
    hidden_act: Literal["gelu", "gelu_new", "relu"]
    num_hidden_layers: int = Field(ge=1, le=1024)
    hidden_size: Size
    num_attention_heads: Size
    intermediate_size: Size
    vocab_size: Rows
    type_vocab_size: Rows = 2
    max_position_embeddings: Rows = 512
    layer_norm_eps: float = Field(default=1e-12, ge=0, le=1, allow_inf_nan=False)


def read_config(folder: Path, weights: Weights) -> BertConfig:
    """The config of a folder whose tensors are `weights`. Raises EngineUnavailable where it states
    what does not run here or what the tensors are not."""
    stated = _read_stated(folder / "config.json")
    if stated.hidden_size % stated.num_attention_heads:
        raise EngineUnavailable(
            f"{folder / 'config.json'}: hidden_size {stated.hidden_size} is not divisible by "
            f"num_attention_heads {stated.num_attention_heads}"
        )
    head = weights.get("classifier.weight")  # [num_labels, H]
    config = BertConfig(
        num_layers=stated.num_hidden_layers,
        hidden_size=stated.hidden_size,
        num_heads=stated.num_attention_heads,
        intermediate_size=stated.intermediate_size,
        vocab_size=stated.vocab_size,
        num_types=stated.type_vocab_size,
        max_positions=stated.max_position_embeddings,
        layer_norm_eps=stated.layer_norm_eps,
        activation=stated.hidden_act,
        num_labels=0 if head is None or not head.ndim else head.shape[0],
    )
    _check_weights(folder / "model.safetensors", config, weights)
    return config


def check_tokens(config: BertConfig, texts: Sequence[TextTokens]) -> None:
    """Raises RequestRejected for tokens beyond the model's tables: its tokenizer is another's."""
    for text in texts:
        if not len(text):
            raise RequestRejected(
                "a text without tokens: tokenizer.json of the model adds no [CLS]"
            )
        _check_range("id", text.ids, config.vocab_size)
        _check_range("type", text.types, config.num_types)
        if len(text) > config.max_positions:
            raise RequestRejected(
                f"a text of {len(text)} tokens for a model that has {config.max_positions} "
                "positions"
            )


def _check_range(kind: str, values: np.ndarray, limit: int) -> None:
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest >= limit:
        wrong = lowest if lowest < 0 else highest
        raise RequestRejected(
            f"token {kind} {wrong} for a model that has {limit}: config.json and tokenizer.json of "
            "its folder do not belong together"
        )


def _read_stated(path: Path) -> _Stated:
    try:
        return _Stated.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first: Any = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the whole"
        raise EngineUnavailable(
            f"{path}: {field} is {first['input']!r:.60}: {first['msg']}"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise EngineUnavailable(f"{path.parent} holds no BERT model: {error}") from error


def _check_weights(path: Path, config: BertConfig, weights: Weights) -> None:
    for name, shape in _shapes(config):
        tensor = weights.get(name)
        if tensor is None:
            raise EngineUnavailable(f"{path} has no floating-point tensor {name} {list(shape)}")
        if tuple(tensor.shape) != shape:
            raise EngineUnavailable(
                f"{path}: {name} has the shape {list(tensor.shape)}, config.json asks for "
                f"{list(shape)}"
            )
        if not np.isfinite(tensor).all():
            raise EngineUnavailable(f"{path}: {name} holds values that are not finite")
    for name in weights:
        layer = _LAYER.match(name)
        if layer and int(layer[1]) >= config.num_layers:
            raise EngineUnavailable(
                f"{path} has the tensor {name}, config.json states {config.num_layers} layers"
            )


def _shapes(config: BertConfig) -> Shapes:
    """Of all tensors that are computed with."""
    hidden = config.hidden_size
    yield "embeddings.word_embeddings.weight", (config.vocab_size, hidden)
    yield "embeddings.token_type_embeddings.weight", (config.num_types, hidden)
    yield "embeddings.position_embeddings.weight", (config.max_positions, hidden)
    yield from _norm("embeddings.LayerNorm", hidden)
    for layer in range(config.num_layers):
        yield from _layer(f"encoder.layer.{layer}", hidden, config.intermediate_size)
    if config.num_labels:
        yield from _linear("pooler.dense", hidden, hidden)
        yield from _linear("classifier", config.num_labels, hidden)


def _layer(name: str, hidden: int, width: int) -> Shapes:
    for part in ("query", "key", "value"):
        yield from _linear(f"{name}.attention.self.{part}", hidden, hidden)
    yield from _linear(f"{name}.attention.output.dense", hidden, hidden)
    yield from _norm(f"{name}.attention.output.LayerNorm", hidden)
    yield from _linear(f"{name}.intermediate.dense", width, hidden)
    yield from _linear(f"{name}.output.dense", hidden, width)
    yield from _norm(f"{name}.output.LayerNorm", hidden)


def _linear(name: str, n: int, k: int) -> Shapes:
    yield f"{name}.weight", (n, k)
    yield f"{name}.bias", (n,)


def _norm(name: str, size: int) -> Shapes:
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)
