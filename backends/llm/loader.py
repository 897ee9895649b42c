"""A model from disk, with its tokenizer and chat template, as a ready core."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backends.errors import ConfigError, EngineUnavailable
from backends.llm import config as configs
from backends.llm import weights
from backends.llm.chat import ChatTemplate
from backends.llm.core import LLMCore
from backends.llm.gguf_file import GGUFFile
from backends.llm.kv_pool import bytes_per_token
from backends.llm.model import LlamaModel
from backends.llm.options import LLMOptions
from backends.llm.prompt import PromptEncoder
from backends.llm.tokenizer import Tokenizer
from backends.llm.tokenizer_files import read_json, tokenizer_from_folder, tokenizer_from_gguf

_CPU_KV_TOKENS = 32768
_MAX_CUDA_KV_TOKENS = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelOnDisk:
    """What a GGUF file and a Hugging Face folder have in common."""

    config: configs.ModelConfig
    tokenizer: Tokenizer
    template: str | None
    load: Callable[[torch.dtype, torch.device], dict[str, Tensor]]


def load_core(path: Path, options: LLMOptions) -> LLMCore:
    """Load everything; seconds to minutes. Raises ConfigError and EngineUnavailable."""
    device = pick_device(options.device)
    dtype = pick_dtype(options.dtype, device)
    found = open_model(path)
    tokenizer = found.tokenizer
    template = ChatTemplate(
        found.template,
        bos=tokenizer.token(tokenizer.bos_id),
        eos=tokenizer.token(next(iter(tokenizer.eos_ids), None)),
    )
    model = LlamaModel(found.config, found.load(dtype, device))
    kv_tokens = options.kv_tokens or _default_kv_tokens(found.config, dtype, device)
    return LLMCore(model, PromptEncoder(tokenizer, template), options, kv_tokens)


def open_model(path: Path) -> ModelOnDisk:
    """Read everything but the weights of a .gguf file or a Hugging Face folder."""
    try:
        if path.is_dir():
            return _open_folder(path)
        if path.is_file():
            return _open_gguf(path)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise EngineUnavailable(
            f"{path} does not describe its model fully ({type(error).__name__}: {error}); "
            "fetch it again or take another copy"
        ) from error
    raise EngineUnavailable(f"no model at {path}: give a .gguf file or a Hugging Face folder")


def pick_device(name: str) -> torch.device:
    """Raises ConfigError for a device that torch does not know or this machine lacks."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is unknown; use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but torch sees no CUDA device here")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def _open_gguf(path: Path) -> ModelOnDisk:
    file = GGUFFile(path)
    config = configs.from_gguf(file.metadata, file.names)
    return ModelOnDisk(
        config,
        tokenizer_from_gguf(file.metadata),
        file.metadata.get("tokenizer.chat_template"),
        lambda dtype, device: weights.load_gguf(file, config, dtype, device),
    )


def _open_folder(folder: Path) -> ModelOnDisk:
    path = folder / "config.json"
    if not path.exists():
        raise EngineUnavailable(f"{folder} has no config.json")
    config = configs.from_hf(json.loads(path.read_text(encoding="utf-8")))
    return ModelOnDisk(
        config,
        tokenizer_from_folder(folder),
        _folder_template(folder),
        lambda dtype, device: weights.load_safetensors(folder, config, dtype, device),
    )


def _folder_template(folder: Path) -> str | None:
    separate = folder / "chat_template.jinja"
    if separate.exists():
        return separate.read_text(encoding="utf-8")
    template: Any = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several, by name
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template if isinstance(template, str) else None


def _default_kv_tokens(
    config: configs.ModelConfig, dtype: torch.dtype, device: torch.device
) -> int:
    if device.type != "cuda":
        return _CPU_KV_TOKENS
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return min(_MAX_CUDA_KV_TOKENS, free_bytes // 2 // bytes_per_token(config, dtype))
