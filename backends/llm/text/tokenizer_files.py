"""Tokenizers from GGUF metadata alone and from a Hugging Face folder."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from backends.errors import ConfigError, EngineUnavailable
from backends.llm.text.tokenizer import Tokenizer
from backends.models.model_files import json_object, reading

_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4  # tokenizer.ggml.token_type
_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """Byte-level BPE from the vocabulary and merges in the file. Raises ConfigError."""

    def get(key: str, default: Any = None) -> Any:
        return metadata.get(f"tokenizer.ggml.{key}", default)

    if get("model") != "gpt2":
        raise ConfigError(
            f"GGUF tokenizer model {get('model')!r} is not supported; supported: gpt2 (BPE). "
            "Use the model's Hugging Face folder with its tokenizer.json"
        )
    tokens: list[str] = get("tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in get("merges", ())]
    rust = RustTokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    _set_pre_tokenizer(rust, get("pre"))
    rust.decoder = decoders.ByteLevel()
    _add_tokens(rust, tokens, _kinds(tokens, merges, get("token_type")))
    ends = [_id_of(get(key), key, tokens) for key in ("eos_token_id", "eot_token_id")]
    return Tokenizer(
        rust,
        eos_ids=_unique(i for i in ends if i is not None),
        bos_id=_id_of(get("bos_token_id"), "bos_token_id", tokens),
        add_bos=bool(get("add_bos_token", False)),
    )


def tokenizer_from_folder(folder: Path) -> Tokenizer:
    """tokenizer.json with its neighbours' special tokens. Raises EngineUnavailable."""
    path = folder / "tokenizer.json"
    if not path.exists():
        raise EngineUnavailable(f"{folder} has no tokenizer.json (a fast tokenizer is needed)")
    with reading(path):
        rust = RustTokenizer.from_file(str(path))
    rust.no_padding()
    rust.no_truncation()
    settings = read_json(folder / "tokenizer_config.json")
    generation = read_json(folder / "generation_config.json")
    config = read_json(folder / "config.json")
    eos_ids = [_token_id(rust, settings.get("eos_token"))]
    for value in (generation.get("eos_token_id"), config.get("eos_token_id")):
        eos_ids += value if isinstance(value, list) else [value]
    bos_id = _token_id(rust, settings.get("bos_token"))
    starts_with = rust.encode("", add_special_tokens=True).ids[:1]
    return Tokenizer(
        rust,
        eos_ids=_unique(i for i in eos_ids if i is not None),
        bos_id=bos_id,
        add_bos=bos_id is not None and starts_with == [bos_id],
    )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty when there is no such file."""
    if not path.exists():
        return {}
    return json_object(path)


def _set_pre_tokenizer(rust: RustTokenizer, name: str) -> None:
    if name == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
        rust.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    elif name == "qwen2":
        words = pre_tokenizers.Split(Regex(_QWEN2_WORDS), behavior="isolated")
        bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        rust.normalizer = normalizers.NFC()
        rust.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_])
    else:
        raise ConfigError(
            f"GGUF pre-tokenizer {name!r} is not supported; supported: smollm, qwen2. "
            "Use the model's Hugging Face folder with its tokenizer.json"
        )


def _kinds(tokens: list[str], merges: list[tuple[str, ...]], given: list[int] | None) -> list[int]:
    """The type of each token. Where the file has none, a token that no merge makes was added."""
    if given is not None:
        if len(given) != len(tokens):
            raise ConfigError(f"the GGUF has {len(tokens)} tokens and {len(given)} token types")
        return given
    made = {"".join(merge) for merge in merges}
    return [_NORMAL if len(token) == 1 or token in made else _CONTROL for token in tokens]


def _id_of(value: Any, key: str, tokens: list[str]) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < len(tokens)):
        raise ConfigError(f"the GGUF's {key} is {value!r}, and it has {len(tokens)} tokens")
    return None if value is None else int(value)


def _add_tokens(rust: RustTokenizer, tokens: list[str], kinds: list[int]) -> None:
    typed = list(zip(tokens, kinds, strict=True))
    control = [AddedToken(t, special=True, normalized=False) for t, k in typed if k == _CONTROL]
    user = [AddedToken(t, special=False, normalized=False) for t, k in typed if k == _USER_DEFINED]
    rust.add_special_tokens(control)
    rust.add_tokens(user)


def _token_id(rust: RustTokenizer, token: Any) -> int | None:
    """Of "</s>" or {"content": "</s>", ...}."""
    content = token.get("content") if isinstance(token, dict) else token
    token_id: int | None = None if content is None else rust.token_to_id(content)
    return token_id


def _unique(ids: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(ids))
