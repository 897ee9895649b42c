"""`local:maxsim`, `local:NAME`, `local:/path` and `hf:ORG/NAME` to a reranker, not yet loaded."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from backends.base import Engine, EngineInfo
from backends.errors import ConfigError
from backends.local_engine import LocalEngine, Runner
from backends.models import check_url, resolve
from backends.optional import optional_imports
from backends.options import Options, read_options

# Catalogue models that were trained on one sequence.
_TEMPLATES = {"local:bert-mini-reranker": "Query: {query}\nSentence: {text}"}


class RerankerOptions(Options):
    """Options of every local reranker."""

    device: str | None = None  # None: CUDA where there is one, else the CPU
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    max_len: int | None = Field(default=None, ge=3)  # tokens of an input; None: what it states
    budget_tokens: int | None = Field(default=None, ge=1)  # of one pass, with padding
    max_batch_items: int = Field(default=256, ge=1)  # pairs


class MaxSimOptions(RerankerOptions):
    """Options of `local:maxsim`."""

    embedder: str = "local:all-minilm-l6-v2"


class CrossEncoderOptions(RerankerOptions):
    """Options of a cross-encoder."""

    # One sequence that holds {query}, then {text}; None: two sequences told apart by token types.
    template: str | None = Field(default=None, pattern=r"(?s)\{query\}.*\{text\}")


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """The reranker of `url`; `start` loads it."""
    if url == "local:maxsim":
        late = read_options(MaxSimOptions, f"{kind} {url!r}", options)
        check_url(late.embedder)
        return _engine(url, late, lambda: _load_maxsim(late))
    defaults = {"template": _TEMPLATES.get(url)}
    cross = read_options(CrossEncoderOptions, f"{kind} {url!r}", {**defaults, **options})
    check_url(url)
    return _engine(url, cross, lambda: _load_cross_encoder(url, cross))


def _engine(url: str, settings: RerankerOptions, load: Callable[[], Runner]) -> Engine:
    info = EngineInfo("reranker", url, max_batch_items=settings.max_batch_items)
    return LocalEngine(info, load)


def _load_maxsim(settings: MaxSimOptions) -> Runner:
    with optional_imports("local"):
        from backends.embedder.encoder import load_encoder
        from backends.reranker.maxsim import MaxSim
        from backends.reranker.runner import RerankRunner
    encoder = load_encoder(
        resolve(settings.embedder),
        settings.device,
        settings.dtype,
        settings.max_len,
        settings.budget_tokens,
    )
    return RerankRunner(MaxSim(encoder))


def _load_cross_encoder(url: str, settings: CrossEncoderOptions) -> Runner:
    folder = resolve(url)
    if (folder / "model.onnx").is_file() and not (folder / "model.safetensors").is_file():
        return _load_onnx(folder, settings)
    with optional_imports("local"):
        from backends.reranker.cross_encoder import load_cross_encoder
        from backends.reranker.pairs import template_of
        from backends.reranker.runner import RerankRunner
    return RerankRunner(
        load_cross_encoder(
            folder,
            settings.device,
            settings.dtype,
            settings.max_len,
            template_of(settings.template),
            settings.budget_tokens,
        )
    )


def _load_onnx(folder: Path, settings: CrossEncoderOptions) -> Runner:
    if settings.device not in (None, "cpu") or settings.dtype != "float32":
        raise ConfigError(
            f"{folder}: an ONNX reranker runs on the CPU as it is; drop device, dtype"
        )
    with optional_imports("onnx"):
        from backends.reranker.onnx_scorer import load_onnx
        from backends.reranker.pairs import template_of
        from backends.reranker.runner import RerankRunner
    template = template_of(settings.template)
    return RerankRunner(load_onnx(folder, settings.max_len, template, settings.budget_tokens))
