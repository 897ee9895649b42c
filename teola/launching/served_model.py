"""What a server is to load for a name: a folder, a catalogue model, or a name on the hub."""

import re
from collections.abc import Callable
from pathlib import Path

from backends.errors import ConfigError
from backends.models.cache import cache_folder
from backends.models.fetch import CATALOG, fetch
from backends.optional import optional_imports
from teola.launching.recipes import ServedModel

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def served_model(word: str, tell: Callable[[str], None]) -> ServedModel:
    """A catalogue model is fetched and exported on first use, in float32. Raises ConfigError,
    EngineUnavailable."""
    if word in CATALOG:
        return ServedModel(str(_exported(word, tell)), word)
    path = Path(word).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ConfigError(f"{path} is no model: it has no config.json")
        return ServedModel(str(path.resolve()), path.resolve().name)
    if path.is_file():
        raise ConfigError(
            f"{path} is a file; `teola models export {path} FOLDER` makes a folder of a GGUF file"
        )
    name = word.removeprefix("hf:")
    if _HUB_NAME.fullmatch(name):
        return ServedModel(name, name)
    raise ConfigError(
        f"{word!r} is neither a folder here, a name on the Hugging Face hub (ORG/NAME), nor a "
        f"model of the catalogue: {', '.join(CATALOG)}"
    )


def _exported(name: str, tell: Callable[[str], None]) -> Path:
    model = CATALOG[name]
    if model.kind != "llm":
        raise ConfigError(f"{name!r} is no LLM ({model.kind}); servers are started with LLMs")
    folder = cache_folder() / "exports" / f"{name}-float32"
    if (folder / "config.json").exists():
        return folder
    with optional_imports("local"):
        from backends.llm.export import export_model
    tell(f"fetching {name}")
    source = fetch(name)
    tell(f"exporting {name}")
    return export_model(source, folder, exist_ok=True)
