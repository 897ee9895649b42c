"""Finds the app that a command line names: `file.py:name` or `package.module:name`."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, cast

from frontend_dsl.app import App
from teola import errors
from teola.cli.failures import CommandError, UsageError

AnyApp = App[..., Any]


def load_app(target: str) -> AnyApp:
    """The app of `target`. Raises UsageError for a wrong name, CommandError for a broken module."""
    place, name = _split(target)
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    return _find(module, place, name)


def load_function(target: str) -> Callable[..., Any]:
    """The function of `target`; raises as `load_app` does."""
    place, name = _split(target)
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    found = getattr(module, name, None)
    if not callable(found):
        raise UsageError(f"{place} has no function {name!r}")
    return cast(Callable[..., Any], found)


def _split(target: str) -> tuple[str, str]:
    if target.endswith(".py"):  # also C:\apps\rag.py
        return target, ""
    place, _, name = target.rpartition(":")
    return (place, name) if place else (target, "")


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    folder, parts = path.resolve().parent, [path.stem]
    while (folder / "__init__.py").is_file():  # a file of a package is imported as a part of it
        parts.insert(0, folder.name)
        folder = folder.parent
    _make_importable(folder)
    if len(parts) > 1:
        return _load_module(".".join(parts))
    name = parts[0] if parts[0] not in sys.modules else f"_app_{parts[0]}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that get_type_hints and pickle find it
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise CommandError(_import_failure(str(path), error)) from error
    return module


def _load_module(name: str) -> ModuleType:
    _make_importable(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"no module {error.name!r}; a target is {_FORMS}") from error
        raise CommandError(_import_failure(name, error)) from error
    except (Exception, SystemExit) as error:
        raise CommandError(_import_failure(name, error)) from error


_FORMS = "`file.py:app` or `package.module:app`"


def _make_importable(folder: Path) -> None:
    for path in (str(Path.cwd()), str(folder)):
        if path not in sys.path:
            sys.path.insert(0, path)


def _find(module: ModuleType, place: str, name: str) -> AnyApp:
    apps = _apps(module)
    there = f"apps there: {', '.join(apps)}" if apps else "there is no app in it; write @tl.app"
    if not name:
        if len(apps) == 1:
            return next(iter(apps.values()))
        what = "several apps" if apps else "no app"
        raise UsageError(f"{place} has {what}; write {place}:NAME ({there})")
    if name in apps:
        return apps[name]
    if not hasattr(module, name):
        raise UsageError(f"{place} has no {name!r}; {there}")
    kind = type(getattr(module, name)).__name__
    raise UsageError(f"{place}:{name} is not an app but a {kind}; {there}")


def _apps(module: ModuleType) -> Mapping[str, AnyApp]:
    """The apps by name; those the module imported count only when it has none of its own."""
    apps = {name: value for name, value in vars(module).items() if isinstance(value, App)}
    own = {name: app for name, app in apps.items() if app.__module__ == module.__name__}
    return own or apps


def _import_failure(place: str, error: BaseException) -> str:
    if isinstance(error, errors.TraceError):  # says where by itself
        return f"cannot import {place}: {error}"
    if isinstance(error, SyntaxError):
        return f"cannot import {place}: {error.filename}:{error.lineno}: {error.msg}"
    name = "" if isinstance(error, errors.ALL) else f"{type(error).__name__}: "
    return f"cannot import {place}: {_last_place(error.__traceback__, place)}{name}{error}"


def _last_place(trace: TracebackType | None, place: str) -> str:
    """The user's line that led to the error."""
    frames = [f for f in traceback.extract_tb(trace) if Path(f.filename).name == Path(place).name]
    return f"line {frames[-1].lineno}: " if frames else ""
