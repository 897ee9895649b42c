"""Where a qdrant is: `qdrant://host:6333/collection`, `qdrant:memory` or `qdrant:FOLDER`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from backends.errors import ConfigError
from backends.store.hosts import is_near

FORM = "qdrant://host:6333/collection, qdrant+https://host/collection, qdrant:memory, qdrant:FOLDER"


@dataclass(frozen=True, slots=True)
class Address:
    """A server (`root`), a folder, or neither: the memory of this process."""

    name: str  # for people
    collection: str | None = None
    root: str | None = None  # http://host:6333
    folder: Path | None = None
    api_key: str | None = field(default=None, repr=False)


def read_address(url: str, api_key_env: str) -> Address:
    """Raises ConfigError."""
    rest = url.partition(":")[2]
    if rest in ("", "memory"):
        return Address("qdrant:memory")
    if not rest.startswith("//"):
        return Address(url, folder=Path(rest).expanduser())
    return _server(url, os.environ.get(api_key_env) or None, api_key_env)


def _server(url: str, api_key: str | None, api_key_env: str) -> Address:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or 6333
    except ValueError:
        host, port = None, 0
    options = parse_qs(parts.query)
    if not host or parts.username is not None or options.keys() - {"tls"}:
        raise ConfigError(f"this is not the URL of a qdrant store; write {FORM}")
    scheme = "https" if _is_tls(parts.scheme, options, host, parts.port) else "http"
    if api_key is not None and scheme == "http" and not is_near(host):
        raise ConfigError(
            f"{api_key_env} would be sent to {host} without encryption: write qdrant+https://"
        )
    address = f"[{host}]" if ":" in host else host
    collection = unquote(parts.path.strip("/")) or None
    shown = f"{parts.scheme}://{address}:{port}/{collection or ''}"
    return Address(shown, collection, f"{scheme}://{address}:{port}", None, api_key)


def _is_tls(scheme: str, options: Mapping[str, list[str]], host: str, port: int | None) -> bool:
    """HTTP by default for near hosts and where a port is named."""
    if scheme == "qdrant+https" or "1" in options.get("tls", []):
        return True
    return port is None and not is_near(host)
