"""A GGUF model as a Hugging Face folder, which vLLM, SGLang and transformers load.

Dequantised weights are float32, so that dtype is exact; bfloat16 rounds them.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import processors

from backends.errors import ConfigError
from backends.file_lock import file_lock
from backends.llm.loader import ModelOnDisk, open_model
from backends.llm.model.config import to_hf
from backends.llm.model.gguf_file import MAGIC
from backends.llm.model.weights import ROPE_FACTORS
from backends.llm.text.tokenizer import Tokenizer

DType = Literal["float32", "bfloat16"]
_WEIGHTS = "model.safetensors"


def export_model(
    source: Path, folder: Path, dtype: DType = "float32", *, exist_ok: bool = False
) -> Path:
    """Write the GGUF file `source` to `folder`, which must be new or empty; returns it.

    Complete or absent, also where it is killed. With `exist_ok`, one that another process wrote
    meanwhile is taken. Raises ConfigError, EngineUnavailable, OSError.
    """
    _check_source(source)
    found = open_model(source)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(folder.with_name(f".{folder.name}.lock")):
        if folder.exists() and any(folder.iterdir()):
            if exist_ok:
                return folder
            raise ConfigError(f"{folder} is not empty; name a new folder")
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        _write(found, part, dtype)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    return folder


def _check_source(source: Path) -> None:
    if source.is_dir():
        raise ConfigError(f"{source} is a folder already; only GGUF files are exported")
    with source.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ConfigError(f"{source} is no GGUF file; only those are exported")


def _write(found: ModelOnDisk, folder: Path, dtype: DType) -> None:
    tensors = found.load(getattr(torch, dtype), torch.device("cpu"))
    if ROPE_FACTORS in tensors:
        raise ConfigError(
            "this GGUF holds its rotary scaling as a tensor, which a config.json cannot name; "
            "take the model's own Hugging Face folder"
        )
    owned = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(owned, folder / _WEIGHTS, metadata={"format": "pt"})
    tokenizer = found.tokenizer
    tokens = _special_ids(tokenizer)
    _write_json(folder / "config.json", {**to_hf(found.config), **tokens, "dtype": dtype})
    _write_json(folder / "generation_config.json", tokens)
    _rust_tokenizer(tokenizer).save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(found))
    if found.template is not None:
        (folder / "chat_template.jinja").write_text(found.template, encoding="utf-8")


def _special_ids(tokenizer: Tokenizer) -> dict[str, Any]:
    eos = list(tokenizer.eos_ids)
    return {"bos_token_id": tokenizer.bos_id, "eos_token_id": eos[0] if len(eos) == 1 else eos}


def _tokenizer_config(found: ModelOnDisk) -> dict[str, Any]:
    tokenizer = found.tokenizer
    eos = tokenizer.token(next(iter(tokenizer.eos_ids), None)) or None
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": found.config.max_positions,
        "clean_up_tokenization_spaces": False,
        "bos_token": tokenizer.token(tokenizer.bos_id) or None,
        "eos_token": eos,
        "pad_token": eos,
    }


def _rust_tokenizer(tokenizer: Tokenizer) -> RustTokenizer:
    rust = RustTokenizer.from_str(tokenizer.to_json())
    if tokenizer.add_bos:
        bos = (tokenizer.token(tokenizer.bos_id), tokenizer.bos_id)
        rust.post_processor = processors.TemplateProcessing(
            single=f"{bos[0]} $A", pair=f"{bos[0]} $A $B", special_tokens=[bos]
        )
    return rust


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
