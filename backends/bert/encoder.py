"""BERT encoders for embedders, late interaction and cross-encoders alike, loaded from a folder.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019. Inference only; on
CPUs in C++ (`native_bert`) where that can be built, else in torch (`torch_bert`).
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from backends.bert.config import BertConfig, Weights, read_config
from backends.bert.options import BertOptions, DtypeName
from backends.bert.tokens import TextTokens
from backends.errors import ConfigError, EngineUnavailable
from backends.native.slow_path import tell_of_slow_path


class Bert(Protocol):
    """The weights of one BERT on one device; threads and engines may share it."""

    config: BertConfig
    budget_tokens: int  # of one pass: more bring nothing

    def encode(self, texts: Sequence[TextTokens]) -> list[Tensor]:
        """The last hidden state of each text [T, H], float32 on the device. Raises RequestRejected
        for tokens that the model does not have."""

    def classify(self, texts: Sequence[TextTokens]) -> NDArray[np.float32]:
        """The logits [N, num_labels] of a sequence classifier."""


_loaded: WeakValueDictionary[tuple[object, ...], Bert] = WeakValueDictionary()
_loading = threading.Lock()


def load_bert(folder: Path, options: BertOptions) -> Bert:
    """The BERT of a Hugging Face folder; loaded once for equal options while anyone holds it.

    Raises EngineUnavailable, and ConfigError for what was asked for and cannot be.
    """
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    key = (folder.resolve(), device, options.dtype, options.kernels, options.threads)
    with _loading:
        bert = _loaded.get(key)
        if bert is None:
            bert = _loaded[key] = _load(folder, device, options)
        return bert


def native_obstacle(config: BertConfig, device: str, options: BertOptions) -> str | None:
    """Why the C++ kernels will not run this model; None when they will."""
    if torch.device(device).type != "cpu":
        return f"the device is {device}, the kernels run on CPU"
    if options.kernels == "torch":
        return "kernels='torch' was asked for"
    from backends.bert.native_bert import why_not

    return why_not(config, _dtype(options, "int16"))


def _load(folder: Path, device: str, options: BertOptions) -> Bert:
    config, weights = read_bert(folder, device)
    obstacle = native_obstacle(config, device, options)
    if obstacle is None:
        from backends.bert.native_bert import NativeBert

        return NativeBert(config, weights, _dtype(options, "int16"), options.threads)
    if options.kernels == "native" or options.dtype == "int16":
        asked = "kernels='native'" if options.kernels == "native" else "dtype='int16'"
        raise ConfigError(f"{asked} cannot run here: {obstacle}")
    from backends.bert.torch_bert import TorchBert

    if torch.device(device).type == "cpu" and options.kernels != "torch":
        tell_of_slow_path()
    if options.threads is not None and device == "cpu":
        torch.set_num_threads(options.threads)
    dtype = getattr(torch, _dtype(options, "float32"))
    return TorchBert(config, {name: tensor.to(dtype) for name, tensor in weights.items()})


def _dtype(options: BertOptions, default: DtypeName) -> DtypeName:
    return default if options.dtype == "auto" else options.dtype


def read_bert(folder: Path, device: str = "cpu") -> tuple[BertConfig, Weights]:
    """Raises EngineUnavailable where there is none, or one that does not run here."""
    try:
        stored = load_file(folder / "model.safetensors", device=device)
    except (OSError, ValueError, SafetensorError) as error:
        raise EngineUnavailable(f"{folder} holds no BERT model: {error}") from error
    weights = {
        _plain_name(name): tensor for name, tensor in stored.items() if tensor.is_floating_point()
    }
    return read_config(folder, weights), weights


def _plain_name(name: str) -> str:
    """Without the `bert.` that heads put before it, and in the names of today."""
    return (
        name.removeprefix("bert.")
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias")
    )
