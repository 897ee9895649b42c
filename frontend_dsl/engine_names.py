"""The names by which engines can be replaced, checked before anything runs where that can be."""

from collections.abc import Mapping
from typing import Any

from backends.registry import EngineSpec
from frontend_dsl.app_function import AppFunction
from frontend_dsl.components import PYTHON
from frontend_dsl.reads import Reads
from frontend_dsl.symbols import Symbols, check_names


def check_before_run(urls: Mapping[str, Any], function: AppFunction) -> None:
    """Check names for an `async def` app, whose graphs are not there yet, by its code.

    A name that only the run can tell is left to it: code that makes components itself, and the
    replaced engines of inlined apps.
    """
    if not urls:
        return
    if Reads(function.call).makes_components:
        return
    wanted = [name for name in urls if "." not in name]
    check_names(wanted, engines_read_by(function), f"app {function.name}()")


def engines_read_by(function: AppFunction) -> Mapping[str, EngineSpec]:
    """The engines of the components that an app's code names, without a trace of it."""
    found = Symbols(function.variables)
    for component in (PYTHON, *Reads(function.call).components.values()):
        found.engine(component)
    return found.engines
