"""Where fetched models lie on this machine."""

import hashlib
import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """`TEOLA_CACHE`, or `teola` in the user's cache folder of this platform."""
    if chosen := os.environ.get("TEOLA_CACHE"):
        return Path(chosen).expanduser()
    return _user_cache() / "teola"


def _user_cache() -> Path:
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path.home() / ".cache"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
