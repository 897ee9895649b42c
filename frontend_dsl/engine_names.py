"""The names by which engines can be replaced, checked before anything runs where that can be."""

from collections.abc import Mapping
from typing import Any

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
    reads = Reads(function.call)
    if reads.makes_components:
        return
    found = Symbols(function.variables)
    for component in (PYTHON, *reads.components.values()):
        found.engine(component)
    wanted = [name for name in urls if "." not in name]
    check_names(wanted, found.engines, f"app {function.name}()")
