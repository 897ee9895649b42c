"""BERT encoders for embedders, late interaction and cross-encoders alike, loaded from a folder.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019. Inference only; on
CPUs in C++ (`native_bert`) where that can be built, else in torch (`torch_bert`).
"""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from backends.bert.config import BertConfig, Weights, read_config
from backends.bert.options import BertOptions, DtypeName
from backends.bert.tokens import TextTokens
from backends.devices import gpu_or_cpu, is_cpu
from backends.errors import ConfigError, EngineUnavailable
from backends.native.slow_path import tell_of_slow_path


class Bert(Protocol):
    """The weights of one BERT on one device; threads and engines may share it."""

    config: BertConfig
    budget_tokens: int  # of one pass: more bring nothing

    def encode(self, texts: Sequence[TextTokens]) -> list[NDArray[np.float32]]:
        """The last hidden state of each text [T, H]. Raises RequestRejected
        for tokens that the model does not have."""

    def classify(self, texts: Sequence[TextTokens]) -> NDArray[np.float32]:
        """The logits [N, num_labels] of a sequence classifier."""


_loaded: WeakValueDictionary[tuple[object, ...], Bert] = WeakValueDictionary()
_loading = threading.Lock()


def load_bert(folder: Path, options: BertOptions) -> Bert:
    """The BERT of a Hugging Face folder; loaded once for equal options while anyone holds it.

    Raises EngineUnavailable, and ConfigError for what was asked for and cannot be.
    """
    device = options.device or gpu_or_cpu()
    key = (folder.resolve(), device, options.dtype, options.kernels, options.threads)
    with _loading:
        bert = _loaded.get(key)
        if bert is None:
            bert = _loaded[key] = _load(folder, device, options)
        return bert


def native_obstacle(config: BertConfig, device: str, options: BertOptions) -> str | None:
    """Why the C++ kernels will not run this model; None when they will."""
    if not is_cpu(device):
        return f"the device is {device}, the kernels run on CPU"
    if options.kernels == "torch":
        return "kernels='torch' was asked for"
    from backends.bert.native_bert import why_not

    return why_not(config, _dtype(options, "int16"))


def _load(folder: Path, device: str, options: BertOptions) -> Bert:
    config, weights = read_bert(folder)
    obstacle = native_obstacle(config, device, options)
    if obstacle is None:
        from backends.bert.native_bert import NativeBert

        return NativeBert(config, weights, _dtype(options, "int16"), options.threads)
    if options.kernels == "native" or options.dtype == "int16":
        asked = "kernels='native'" if options.kernels == "native" else "dtype='int16'"
        raise ConfigError(f"{asked} cannot run here: {obstacle}")
    if is_cpu(device) and options.kernels != "torch":
        tell_of_slow_path()
    return _torch_bert(config, weights, device, options)


def _torch_bert(config: BertConfig, weights: Weights, device: str, options: BertOptions) -> Bert:
    import torch

    from backends.bert.torch_bert import TorchBert

    if options.threads is not None and is_cpu(device):
        torch.set_num_threads(options.threads)
    dtype = getattr(torch, _dtype(options, "float32"))
    tensors = {name: torch.from_numpy(x).to(device, dtype) for name, x in weights.items()}
    return TorchBert(config, tensors)


def _dtype(options: BertOptions, default: DtypeName) -> DtypeName:
    return default if options.dtype == "auto" else options.dtype


def read_bert(folder: Path) -> tuple[BertConfig, Weights]:
    """Raises EngineUnavailable where there is none, or one that does not run here."""
    if folder.is_file():
        raise EngineUnavailable(
            f"{folder} is a file and holds no BERT model: give the folder of a Hugging Face model "
            "(a .gguf is served as an LLM)"
        )
    try:
        weights = dict(_floats(folder / "model.safetensors"))
    except (OSError, ValueError, SafetensorError) as error:
        raise EngineUnavailable(f"{folder} holds no BERT model: {error}") from error
    return read_config(folder, weights), weights


def _floats(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The floating-point tensors of a file, as float32."""
    with safe_open(path, framework="np") as stored:
        for name in stored.keys():  # noqa: SIM118 (not a dict)
            kind = stored.get_slice(name).get_dtype()
            if kind in ("F16", "F32", "F64"):
                yield _plain_name(name), stored.get_tensor(name).astype(np.float32, copy=False)
            elif kind == "BF16":  # numpy has no such type
                yield _plain_name(name), _from_bfloat16(path, name)


def _from_bfloat16(path: Path, name: str) -> NDArray[np.float32]:
    with safe_open(path, framework="pt") as stored:
        values: NDArray[np.float32] = stored.get_tensor(name).float().numpy()
    return values


def _plain_name(name: str) -> str:
    """Without the `bert.` that heads put before it, and in the names of today."""
    return (
        name.removeprefix("bert.")
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias")
    )
