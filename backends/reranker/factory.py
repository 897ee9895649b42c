"""`local:maxsim`, `local:NAME`, `local:/path` and `hf:ORG/NAME` to a reranker, not yet loaded."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from backends.base import Engine, EngineInfo
from backends.bert.forward_passes import TextRunner
from backends.bert.options import BertOptions
from backends.devices import device_name
from backends.errors import ConfigError
from backends.models.fetch import check_url, resolve
from backends.models.model_files import reading
from backends.optional import optional_imports
from backends.options import read_options
from backends.text_engine import NUM_SLOTS, TextEngine

# Catalogue models that were trained on one sequence.
_TEMPLATES = {"local:bert-mini-reranker": "Query: {query}\nSentence: {text}"}


class MaxSimOptions(BertOptions):
    """Options of `local:maxsim`."""

    embedder: str = "local:all-minilm-l6-v2"


class CrossEncoderOptions(BertOptions):
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


def _engine(url: str, settings: BertOptions, load: Callable[[], TextRunner[Any, Any]]) -> Engine:
    info = EngineInfo(
        "reranker",
        url,
        settings.max_batch_items,
        NUM_SLOTS,
        frozenset({"repeatable"}),
        device=device_name(settings.device),
    )
    return TextEngine(info, load)


def _load_maxsim(settings: MaxSimOptions) -> TextRunner[Any, Any]:
    with optional_imports("local"):
        from backends.embedder.encoder import load_encoder
        from backends.reranker.maxsim import MaxSim
        from backends.reranker.runner import RerankRunner
    folder = resolve(settings.embedder)
    with reading(folder):
        return RerankRunner(MaxSim(load_encoder(folder, settings)))


def _load_cross_encoder(url: str, settings: CrossEncoderOptions) -> TextRunner[Any, Any]:
    folder = resolve(url)
    if (folder / "model.onnx").is_file() and not (folder / "model.safetensors").is_file():
        return _load_onnx(folder, settings)
    with optional_imports("local"):
        from backends.reranker.cross_encoder import load_cross_encoder
        from backends.reranker.pairs import template_of
        from backends.reranker.runner import RerankRunner
    template = template_of(settings.template)
    with reading(folder):
        return RerankRunner(load_cross_encoder(folder, settings, template))


def _load_onnx(folder: Path, settings: CrossEncoderOptions) -> TextRunner[Any, Any]:
    own = {"device": (None, "cpu"), "dtype": ("auto", "float32"), "kernels": ("auto",)}
    if any(getattr(settings, name) not in allowed for name, allowed in own.items()):
        raise ConfigError(
            f"{folder}: an ONNX reranker runs on the CPU as it is; drop {', '.join(own)}"
        )
    with optional_imports("onnx"):
        from backends.reranker.onnx_scorer import load_onnx
        from backends.reranker.pairs import template_of
        from backends.reranker.runner import RerankRunner
    with reading(folder):
        return RerankRunner(load_onnx(folder, settings, template_of(settings.template)))
