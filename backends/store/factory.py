"""`local:` keeps documents in memory, `local:FOLDER` on disk too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from backends.base import Capability, Engine, EngineInfo
from backends.errors import EngineUnavailable
from backends.local_engine import LocalEngine, Runner
from backends.optional import optional_imports
from backends.options import Options, read_options


class StoreOptions(Options):
    """Options of a local store."""

    collection: str = "default"  # the name in its Index values
    max_batch_items: int = Field(default=64, ge=1)


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """The store of `url`; `start` opens it."""
    settings = read_options(StoreOptions, f"{kind} {url!r}", options)
    able = frozenset[Capability]({"keeps"} if url != "local:" else ())
    info = EngineInfo("store", url, settings.max_batch_items, 1, able, device="cpu")
    return LocalEngine(info, lambda: _open(url, settings))


def _open(url: str, settings: StoreOptions) -> Runner:
    with optional_imports("documents"):
        from backends.store.runner import StoreRunner
        from backends.store.segments import Segments
    if not (name := url.removeprefix("local:")):
        return StoreRunner(settings.collection, None)
    folder = Path(name).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return StoreRunner(settings.collection, Segments(folder))
    except OSError as error:
        raise EngineUnavailable(f"cannot open the store {folder}: {error}") from error
