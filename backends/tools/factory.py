"""`python:` to the engine that calls Python functions."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from backends.base import Engine
from backends.errors import ConfigError
from backends.options import Options, read_options
from backends.tools.python import MAX_THREADS, NO_LIMIT, STALL_S, PythonEngine


class PythonOptions(Options):
    """Options of the Python engine."""

    num_slots: int = Field(default=NO_LIMIT, ge=1)  # calls at once
    max_threads: int = Field(default=MAX_THREADS, ge=1)  # plain functions at once
    stall_s: float = Field(default=STALL_S, gt=0)  # how long all threads may get nothing done


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """The engine of `python:`."""
    if url != "python:":
        raise ConfigError(f"{url!r}: the Python engine has no address; write 'python:'")
    settings = read_options(PythonOptions, f"{kind} {url!r}", options)
    return PythonEngine(settings.num_slots, settings.max_threads, settings.stall_s)
