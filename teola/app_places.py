"""Where an app is defined, so that another process finds it, and whether its code is the same."""

import sys
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from frontend_dsl.app import App


def target_of(app: Any) -> str:
    """`file.py:name`; empty where no module names the app."""
    if not isinstance(app, App):
        return ""
    variables = app.app_function.variables
    names = [name for name, value in variables.items() if is_same(value, app)]
    file = _file_of(variables)
    return f"{file}:{names[0]}" if names and file is not None else ""


def is_same(found: Any, app: App[..., Any]) -> bool:
    """Whether both are one app, perhaps with other options."""
    if not isinstance(found, App):
        return False
    mine, other = app.app_function, found.app_function
    return (mine.name, mine.place) == (other.name, other.place) and other.receiver is None


def loaded_app(target: str) -> App[..., Any] | None:
    """The app of a target whose module is loaded already; loading it again would make another."""
    file, _, name = target.rpartition(":")
    for module in [*sys.modules.values()]:
        own = getattr(module, "__file__", None)
        found = getattr(module, name, None) if own and Path(own).resolve() == Path(file) else None
        if isinstance(found, App):
            return found
    return None


def code_of(app: Any) -> str:
    """A digest of the file that the app is in; empty where there is none."""
    file = _file_of(app.app_function.variables) if isinstance(app, App) else None
    if file is None:
        return ""
    try:
        return blake2b(file.read_bytes(), digest_size=8).hexdigest()
    except OSError:
        return ""


def _file_of(variables: Mapping[str, Any]) -> Path | None:
    file = variables.get("__file__")
    if file is None:
        module = sys.modules.get(str(variables.get("__name__")))
        file = getattr(module, "__file__", None)
    return None if file is None else Path(str(file)).resolve()
