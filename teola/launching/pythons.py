"""Which Python runs a server: the one that was named, this one, or one that teola installed."""

import os
import subprocess
import sys
from pathlib import Path

from backends.errors import ConfigError, EngineUnavailable
from teola.launching.environments import ENVIRONMENTS
from teola.launching.failures import install_line
from teola.launching.recipes import Recipe

# A folder without __init__.py is found as a package too, but has no origin.
_LOOK = """
import sys
from importlib.util import find_spec
found = find_spec(sys.argv[1])
sys.exit(found is None or found.origin is None)
"""
_LOOK_S = 60.0
SAFE_PATH = {"PYTHONSAFEPATH": "1"}  # a folder `vllm` where teola is called is not the package


def find_python(recipe: Recipe, given: Path | None = None) -> Path:
    """Raises ConfigError for a wrong `given`, EngineUnavailable where nothing has the server.
    The server is not imported: that would take seconds, and a GPU."""
    if given is not None:
        return _checked(recipe, given.expanduser())
    if _has(Path(sys.executable), recipe.package):
        return Path(sys.executable)
    for environment in ENVIRONMENTS:
        if environment.server == recipe.name and environment.is_complete:
            return environment.python
    raise EngineUnavailable(f"{recipe.name} is not installed here; {install_line(recipe)}")


def _checked(recipe: Recipe, given: Path) -> Path:
    """`given` is an interpreter, or the folder of an environment."""
    python = given / "bin" / "python" if given.is_dir() else given
    try:
        has_server = _has(python, recipe.package)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"--python {given}: it cannot be run: {error}") from error
    if not has_server:
        raise EngineUnavailable(
            f"--python {given} has no package {recipe.package!r}; {install_line(recipe)}"
        )
    return python.absolute()  # not resolved: a link is what makes it that environment's


def _has(python: Path, package: str) -> bool:
    look = subprocess.run(
        [str(python), "-c", _LOOK, package],
        capture_output=True,
        timeout=_LOOK_S,
        env={**os.environ, **SAFE_PATH},
        check=False,
    )
    return look.returncode == 0
