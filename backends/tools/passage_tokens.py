"""What counts the tokens of passages: a tokenizer, a file of one, or a local model's own."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from backends.errors import ConfigError, DocumentError, RequestRejected
from backends.models.fetch import resolve
from backends.optional import optional_imports
from backends.registry import EngineSpec

_MODEL_SCHEMES = ("local:", "hf:")


def whole_tokenizer(given: Any) -> Any:
    """A `tokenizers.Tokenizer` that counts all of a text: many stored ones truncate or pad.

    `given` is one (left as it is), the path of a tokenizer.json, or the URL of a local LLM or
    embedder. Raises RequestRejected, DocumentError; for a model as `resolve` does.
    """
    with optional_imports("local"):
        from tokenizers import Tokenizer
    if isinstance(given, Tokenizer):
        copy = Tokenizer.from_str(given.to_str())
    elif isinstance(given, str) and given.startswith(_MODEL_SCHEMES):
        path = resolve(given)
        return _of_model(path, _changed_ns(path))
    elif isinstance(given, str) and ":" in given and not Path(given).exists():
        raise RequestRejected(
            f"{given!r} has no tokenizer here: passages are counted with a local model's "
            "(local:, hf:)"
        )
    elif isinstance(given, str | Path):
        copy = Tokenizer.from_str(_json_of_file(Path(given)))
    else:
        raise RequestRejected(
            "tokenizer must be a tokenizers.Tokenizer, the path of a tokenizer.json or the URL "
            f"of a local model, got {type(given).__name__}"
        )
    return _counting_all(copy)


@lru_cache(maxsize=4)  # 20 to 60 ms each
def _of_model(path: Path, changed_ns: int) -> Any:  # noqa: ARG001 - files written anew are read anew
    from tokenizers import Tokenizer

    return _counting_all(Tokenizer.from_str(_json_of_model(path)))


def _counting_all(tokenizer: Any) -> Any:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _changed_ns(path: Path) -> int:
    file = path / "tokenizer.json" if path.is_dir() else path
    return file.stat().st_mtime_ns if file.is_file() else 0


@dataclass(frozen=True, slots=True)
class Window:
    """How a model reads a text: by which tokens, and how many of them at most."""

    tokenizer: Any
    most_tokens: int


class Counting(NamedTuple):
    """What counts the passages of an embedder, as `whole_tokenizer` takes it; None: nobody here
    can count its tokens."""

    tokenizer: str | None
    most_tokens: int  # of a passage


def window_of(embedder: EngineSpec) -> Window | None:
    """The window of a local or emulated embedder; None for one whose tokens nobody here can count.

    Raises as `resolve` does.
    """
    tokenizer, most_tokens = counting_of(embedder)
    return None if tokenizer is None else Window(whole_tokenizer(tokenizer), most_tokens)


def counting_of(embedder: EngineSpec) -> Counting:
    """By name what `window_of` opens. Raises as `resolve` does."""
    if embedder.url.startswith("emulated:"):
        from backends.emulated.factory import splitting_of

        return splitting_of(embedder.url, embedder.options)
    if not embedder.url.startswith(_MODEL_SCHEMES):
        return Counting(None, 0)
    with optional_imports("local"):
        from backends.bert.tokens import NUM_MARKS, max_len_of
    longest = max_len_of(resolve(embedder.url), embedder.options.get("max_len"))
    return Counting(embedder.url, longest - NUM_MARKS)


def _json_of_model(path: Path) -> str:
    return _json_of_file(path / "tokenizer.json") if path.is_dir() else _json_of_gguf(path)


def _json_of_file(path: Path) -> str:
    if not path.is_file():
        raise DocumentError(f"there is no tokenizer at {str(path)!r}")
    return path.read_text(encoding="utf-8")


@lru_cache(maxsize=4)  # half a second each
def _json_of_gguf(path: Path) -> str:
    with optional_imports("local"):
        from backends.llm.model.gguf_file import GGUFFile
        from backends.llm.text.tokenizer_files import tokenizer_from_gguf
    if path.suffix != ".gguf":
        raise ConfigError(f"{path} is neither a model's folder nor a .gguf file")
    return tokenizer_from_gguf(GGUFFile(path).metadata).to_json()
