"""Devices and models by name, or from a file of one's own (TOML or JSON), which holds one of them.

Errors name the file and the field.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from backends.emulated.hardware import Described, Device, Shape
from backends.errors import ConfigError

_FILES = (".toml", ".json")
_URL = re.compile(r"(?P<device>.+?\.(?:toml|json)|[^/]+)/(?P<model>.+)")
_NO_FIELD = ("[key]", "float", "constrained-float", "dict[int,constrained-float]")  # pydantic's
_SEVERAL = re.compile(r"(?P<name>.+?)x(?P<count>[1-9]\d?)")

DescribedT = TypeVar("DescribedT", bound=Described)


def names_in(url: str) -> tuple[str, str]:
    """`emulated:DEVICE/MODEL` to its two names, each of the catalogue or a file. Raises
    ConfigError."""
    match = _URL.fullmatch(url.partition(":")[2])
    if match is None:
        raise ConfigError(
            f"{url!r} names no device and model: write emulated:DEVICE/MODEL, for example "
            "emulated:h100/llama-3.1-8b"
        )
    return match["device"], match["model"]


def device_of(name: str) -> tuple[Device, int]:
    """A device and how many of it (`h100x4`). Raises ConfigError."""
    several = None if name.endswith(_FILES) else _SEVERAL.fullmatch(name)
    if several is not None and name not in catalogue("devices"):
        return _described(Device, several["name"], "devices"), int(several["count"])
    return _described(Device, name, "devices"), 1


def shape_of(name: str, kind: str) -> Shape:
    """A model of a kind. Raises ConfigError."""
    shape = _described(Shape, name, "models")
    if shape.kind != kind:
        fitting = [key for key, entry in catalogue("models").items() if _kind(entry) == kind]
        raise ConfigError(
            f"the model {name!r} is no {kind} (its kind is {shape.kind!r}); known {kind} models: "
            f"{', '.join(fitting)}"
        )
    return shape


@cache
def catalogue(which: str) -> Mapping[str, Any]:
    """`devices` or `models` that come with teola."""
    folder = resources.files("backends.emulated") / "catalog"
    return tomllib.loads((folder / f"{which}.toml").read_text(encoding="utf-8"))


def _kind(entry: Mapping[str, Any]) -> str:
    return str(entry.get("kind", "llm"))


def _described(model: type[DescribedT], name: str, which: str) -> DescribedT:
    what = which.removesuffix("s")
    if name.endswith(_FILES):
        return _validated(model, _read(Path(name).expanduser(), what), f"{what} file {name}")
    known = catalogue(which)
    if name not in known:
        close = get_close_matches(name, known, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(
            f"there is no {what} {name!r}; {guess}Known: {', '.join(known)}; or give a .toml or "
            ".json file of your own"
        )
    return _validated(model, known[name], f"{what} {name}")


def _read(path: Path, what: str) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{what} file {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} file {path} is not UTF-8 text") from error
    try:
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{what} file {path}: {error}") from error


def _validated(model: type[DescribedT], content: Any, where: str) -> DescribedT:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        wrong = "; ".join(_reason(item) for item in error.errors())
        fields = ", ".join(model.model_fields)
        raise ConfigError(f"{where}: {wrong}. Fields: {fields}.") from None


def _reason(item: Any) -> str:
    if not item["loc"]:
        return str(item["msg"])
    field = ".".join(str(part) for part in item["loc"] if part not in _NO_FIELD)
    if item["type"] == "extra_forbidden":
        return f"unknown field {field!r}"
    if item["type"] == "missing":
        return f"the field {field!r} is missing"
    return f"field {field!r}: {item['msg']} (got {item['input']!r})"
