"""A model from disk, with its tokenizer and chat template, as a ready core."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.devices import gpu_or_cpu, is_cpu
from backends.errors import ConfigError, EngineUnavailable
from backends.llm.core import LLMCore
from backends.llm.kv.pool_size import cpu_kv_tokens
from backends.llm.kv.tiers.page_key import identity_of
from backends.llm.model import config as configs
from backends.llm.model import weights
from backends.llm.model.dtypes import Device, DType
from backends.llm.model.gguf_file import GGUFFile
from backends.llm.model.native.native_model import NativeModel, why_not
from backends.llm.model.native.weight_source import GGUFSource, TensorSource, has_blocks
from backends.llm.model.step_model import StepModel
from backends.llm.numerics import Numerics, dtype_of, pick_numerics
from backends.llm.options import LLMOptions
from backends.llm.requests.prompt_encoder import folder_template, prompts_of
from backends.llm.text.tokenizer import Tokenizer
from backends.llm.text.tokenizer_files import tokenizer_from_folder, tokenizer_from_gguf
from backends.memory import available_bytes
from backends.models.fetch import resolve
from backends.models.model_files import json_object, reading
from backends.native.build import build
from backends.native.packing import WeightSource
from backends.native.slow_path import tell_of_slow_path

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ModelOnDisk:
    """What a GGUF file and a Hugging Face folder have in common."""

    config: configs.ModelConfig
    make_tokenizer: Callable[[], Tokenizer]
    template: str | None
    load: "Callable[[DType, Device], dict[str, Tensor]]"
    source: Callable[[], WeightSource]
    has_blocks: bool = False  # 4-bit or 8-bit weights that the kernels can multiply

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return self.make_tokenizer()


def load_core(path: Path, options: LLMOptions) -> LLMCore:
    """Load everything; seconds to minutes. Raises ConfigError and EngineUnavailable."""
    device = pick_device(options.device)
    found = _open(path)
    with ThreadPoolExecutor(1, thread_name_prefix="teola-load") as threads:
        loading = threads.submit(load_model, found, options, device)  # while tokenizers are made
        with reading(path):
            prompts = prompts_of(found.tokenizer, found.template)
        draft = load_draft(found.tokenizer, options, device)
        with reading(path):
            model = loading.result()
    kv_tokens = _kv_tokens(model, draft, options, device)
    identity = kv_identity(path, found, options, device) if options.disk_kv is not None else ""
    core = LLMCore(model, prompts, options, kv_tokens, identity=identity, draft=draft)
    for name, folder in options.adapters.items():
        core.load_adapter(name, Path(folder).expanduser())
    return core


def kv_identity(path: Path, found: ModelOnDisk, options: LLMOptions, device: Device) -> str:
    """By which KV on disk is this model's: another way to compute gives other bits."""
    numerics = numerics_of(found, options, device)
    return f"{identity_of(path)} {options.weights} {numerics} {build().isa}"


def load_model(found: ModelOnDisk, options: LLMOptions, device: Device) -> StepModel[Any]:
    """On the C++ kernels where they run, else in torch. Raises ConfigError for what was asked for
    and cannot be."""
    numerics = numerics_of(found, options, device)
    dtype = dtype_of(numerics)
    obstacle = native_obstacle(found.config, options, device)
    if obstacle is None:
        keeps = options.weights != "full" and dtype == "bfloat16"
        if options.weights == "stored" and not keeps:
            raise ConfigError(
                "weights='stored' needs dtype bfloat16 or int8: float32 has no 4-bit products"
            )
        int8 = numerics == "int8"
        return NativeModel(found.config, found.source(), dtype, keeps, options.threads, int8=int8)
    if options.kernels == "native":
        raise ConfigError(f"kernels='native' cannot run here: {obstacle}")
    if options.weights == "stored":
        raise ConfigError(f"weights='stored' needs the native kernels: {obstacle}")
    if is_cpu(device) and options.kernels != "torch":
        tell_of_slow_path()
    return _torch_model(found, options, dtype, device)


def _torch_model(
    found: ModelOnDisk, options: LLMOptions, dtype: DType, device: Device
) -> StepModel[Any]:
    import torch

    from backends.llm.model.cuda.open_cuda import open_cuda
    from backends.llm.model.torch_model.llama import LlamaModel

    if options.threads is not None and is_cpu(device):
        torch.set_num_threads(options.threads)
    if not is_cpu(device):
        return open_cuda(found.config, found.load(dtype, device), options)
    return LlamaModel(found.config, found.load(dtype, device))


def load_draft(tokenizer: Tokenizer, options: LLMOptions, device: Device) -> StepModel[Any] | None:
    """The small model that guesses for the one of `tokenizer`, if there is to be one. Raises
    ConfigError where their vocabularies differ."""
    if (options.speculation == "draft") != (options.draft is not None):
        raise ConfigError("speculation='draft' and draft='local:a-small-model' go together")
    if options.draft is None:
        return None
    from backends.llm.speculation.draft import check_same_vocabulary

    path = resolve(options.draft)
    found = open_model(path)
    check_same_vocabulary(tokenizer, found.tokenizer, found.config)
    with reading(path):
        return load_model(found, options, device)


def open_model(path: Path) -> ModelOnDisk:
    """Read everything but the weights of a .gguf file or a Hugging Face folder."""
    found = _open(path)
    with reading(path):
        assert found.tokenizer, "made now, so that what is wrong with it is told now"
    return found


def _open(path: Path) -> ModelOnDisk:
    with reading(path):
        if path.is_dir():
            return _open_folder(path)
        if path.is_file():
            return _open_gguf(path)
    raise EngineUnavailable(f"no model at {path}: give a .gguf file or a Hugging Face folder")


def pick_device(name: str) -> Device:
    """Raises ConfigError for a device that torch does not know or this machine lacks."""
    if name == "auto":
        return gpu_or_cpu()
    if name == "cpu":
        return name
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is unknown; use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but torch sees no CUDA device here")
    return device


def numerics_of(found: ModelOnDisk, options: LLMOptions, device: Device) -> Numerics:
    """What the model computes in here. Raises ConfigError for an int8 that cannot be."""
    obstacle = native_obstacle(found.config, options, device)
    return pick_numerics(options, device, obstacle, found.has_blocks)


def native_obstacle(config: configs.ModelConfig, options: LLMOptions, device: Device) -> str | None:
    """Why the C++ kernels will not run this model; None when they will."""
    if not is_cpu(device):
        return f"the device is {device}, the kernels run on CPU"
    if options.kernels == "torch":
        return "kernels='torch' was asked for"
    return why_not(config, options.page_size)


def _open_gguf(path: Path) -> ModelOnDisk:
    file = GGUFFile(path)
    config = configs.from_gguf(file.metadata, file.names)
    return ModelOnDisk(
        config,
        lambda: tokenizer_from_gguf(file.metadata),
        file.metadata.get("tokenizer.chat_template"),
        lambda dtype, device: weights.load_gguf(file, config, dtype, device),
        lambda: GGUFSource(file, config),
        has_blocks(file),
    )


def _open_folder(folder: Path) -> ModelOnDisk:
    path = folder / "config.json"
    if not path.exists():
        raise EngineUnavailable(f"{folder} has no config.json")
    raw = json_object(path)
    with reading(path):
        config = configs.from_hf(raw)
    return ModelOnDisk(
        config,
        lambda: tokenizer_from_folder(folder),
        folder_template(folder),
        lambda dtype, device: weights.load_safetensors(folder, config, dtype, device),
        lambda: TensorSource(weights.load_safetensors(folder, config, "float32", "cpu")),
    )


def _kv_tokens(
    model: StepModel[Any], draft: StepModel[Any] | None, options: LLMOptions, device: Device
) -> int:
    models = [model] if draft is None else [model, draft]
    if is_cpu(device):
        token_bytes = sum(configs.bytes_per_token(each.config, each.dtype) for each in models)
        return cpu_kv_tokens(options.kv_tokens, token_bytes, available_bytes())
    from backends.llm.model.cuda.open_cuda import default_kv_tokens

    return options.kv_tokens or default_kv_tokens(models, options.page_size, device)
