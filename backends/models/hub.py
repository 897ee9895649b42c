"""Models of the Hugging Face hub, fetched only when asked: `hf:ORG/NAME[@REVISION][/FILE.gguf]`."""

import re
from pathlib import Path

from backends.errors import ConfigError, EngineUnavailable
from backends.file_lock import file_lock
from backends.models.cache import cache_folder

_NAME = r"\w[\w.-]*"  # begins with no dot: a name cannot climb out of the cache folder
_URL = re.compile(
    rf"hf:(?P<repo>{_NAME}/{_NAME})(?:@(?P<revision>{_NAME}))?"
    rf"(?:/(?P<file>(?:{_NAME}/)*{_NAME}\.gguf))?"
)
_PATTERNS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*config*.json",
    "tokenizer*",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
    "*.jinja",
    "LICENSE*",
    "NOTICE*",
)
_DONE = ".teola-complete"  # written last: a folder without it is a download that was cut


def hub_path(url: str) -> Path | None:
    """The fetched folder (or GGUF file) of a hub URL, or None. Raises ConfigError."""
    folder, file, _, _ = _parse(url)
    path = folder / file if file else folder
    return path if _mark(folder, file).exists() and path.exists() else None


def fetch_from_hub(url: str) -> Path:
    """Weights, tokenizer and configuration of a hub model. Raises EngineUnavailable."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise EngineUnavailable(
            'huggingface_hub is not installed; run `pip install "teola[local]"`'
        ) from error
    import httpx

    folder, file, repo, revision = _parse(url)
    try:
        with file_lock(folder.with_name(folder.name + ".lock")):
            snapshot_download(
                repo,
                revision=revision,
                local_dir=folder,
                allow_patterns=[file] if file else list(_PATTERNS),
            )
            _mark(folder, file).touch()
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        raise EngineUnavailable(f"cannot fetch {url}: {error}") from error
    return folder / file if file else folder


def _parse(url: str) -> tuple[Path, str | None, str, str | None]:
    match = _URL.fullmatch(url)
    if match is None:
        raise ConfigError(f"{url!r} names no hub model; write hf:ORG/NAME or hf:ORG/NAME/FILE.gguf")
    repo, revision = match["repo"], match["revision"]
    name = repo.replace("/", "--") + (f"@{revision}" if revision else "")
    return cache_folder() / "hub" / name, match["file"], repo, revision


def _mark(folder: Path, file: str | None) -> Path:
    return folder / (f"{_DONE}-{file.replace('/', '--')}" if file else _DONE)
