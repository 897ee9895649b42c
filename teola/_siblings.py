"""Stops loudly when a user's own `runtime.py` or `backends/` shadows teola's package.

teola's rooms are top-level packages, so a module of the same name that comes earlier on sys.path
would be imported instead, and fail far away from the cause.
"""

from importlib.util import find_spec
from pathlib import Path

SIBLINGS = ("backends", "graph_opt", "frontend_dsl", "runtime")


def check_siblings(home: Path) -> None:
    """Raise ImportError if one of teola's packages would come from outside `home`."""
    for name in SIBLINGS:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ImportError(f"teola's package {name!r} is missing beside {home}; reinstall teola")
        if Path(spec.origin).resolve().parent.parent != home:
            raise ImportError(
                f"{spec.origin} shadows teola's own package {name!r}; rename yours, or start "
                f"Python from another folder (teola's lives in {home})"
            )


check_siblings(Path(__file__).resolve().parent.parent)
