"""The name of the program, under which another process finds the classes of its file."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path


def main_name() -> str:
    """What other processes import the program under that this one runs."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)  # python -m
    file = getattr(main, "__file__", None)
    if spec is not None:
        name: str = spec.name
        return name
    return _name_of_file(file) if str(file).endswith(".py") else "__main__"


@cache
def _name_of_file(file: str) -> str:
    path = Path(file).resolve()
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)
