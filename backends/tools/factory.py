"""`python:` to the engine that calls Python functions."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from backends.base import Engine
from backends.errors import ConfigError
from backends.options import Options, read_options
from backends.tools.python import PythonEngine


class PythonOptions(Options):
    """Options of the Python engine."""

    num_slots: int = Field(default=16, ge=1)  # calls at once, and threads


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """The engine of `python:`."""
    if url != "python:":
        raise ConfigError(f"{url!r}: the Python engine has no address; write 'python:'")
    return PythonEngine(read_options(PythonOptions, f"{kind} {url!r}", options).num_slots)
