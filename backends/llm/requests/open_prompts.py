"""A model's tokenizer and chat template from its files, without its weights and without torch."""

from pathlib import Path
from typing import Any

from backends.errors import EngineUnavailable
from backends.llm.model.gguf_file import GGUFFile
from backends.llm.requests.prompt_encoder import PromptEncoder
from backends.llm.text.chat import ChatTemplate
from backends.llm.text.tokenizer import Tokenizer
from backends.llm.text.tokenizer_files import read_json, tokenizer_from_folder, tokenizer_from_gguf
from backends.models.model_files import reading


def open_prompts(path: Path) -> PromptEncoder:
    """Of a GGUF file, a Hugging Face folder or its tokenizer.json. Raises ConfigError and
    EngineUnavailable."""
    folder = path.parent if path.name == "tokenizer.json" else path
    with reading(path):
        if folder.is_dir():
            return prompts_of(tokenizer_from_folder(folder), folder_template(folder))
        if path.is_file():
            metadata = GGUFFile(path).metadata
            template = metadata.get("tokenizer.chat_template")
            return prompts_of(tokenizer_from_gguf(metadata), template)
    raise EngineUnavailable(f"no tokenizer at {path}: give a folder, a .gguf or a tokenizer.json")


def prompts_of(tokenizer: Tokenizer, template: str | None) -> PromptEncoder:
    """The encoder of a model's prompts. Raises ConfigError for a template that cannot be read."""
    bos, eos = (
        tokenizer.token(tokenizer.bos_id),
        tokenizer.token(next(iter(tokenizer.eos_ids), None)),
    )
    return PromptEncoder(tokenizer, ChatTemplate(template, bos=bos, eos=eos))


def folder_template(folder: Path) -> str | None:
    """The chat template of a Hugging Face folder, if it has one."""
    separate = folder / "chat_template.jinja"
    if separate.exists():
        return separate.read_text(encoding="utf-8")
    template: Any = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several, by name
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template if isinstance(template, str) else None
