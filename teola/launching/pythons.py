"""Which Python runs a server: the one that was named, this one, or one that teola installed."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from backends.errors import ConfigError, EngineUnavailable
from teola.launching.environments import ENVIRONMENTS
from teola.launching.failures import install_line
from teola.launching.recipes import Recipe

_LOOK = "import sys; from importlib.util import find_spec; sys.exit(find_spec(sys.argv[1]) is None)"
_LOOK_S = 60.0


def find_python(recipe: Recipe, given: Path | None = None) -> Path:
    """Raises ConfigError for a wrong `given`, EngineUnavailable where nothing has the server.
    Nothing is imported: that would take seconds, and a GPU."""
    if given is not None:
        return _checked(recipe, given.expanduser())
    if find_spec(recipe.package) is not None:
        return Path(sys.executable)
    for environment in ENVIRONMENTS:
        if environment.server == recipe.name and environment.is_complete:
            return environment.python
    raise EngineUnavailable(f"{recipe.name} is not installed here; {install_line(recipe)}")


def _checked(recipe: Recipe, given: Path) -> Path:
    """`given` is an interpreter, or the folder of an environment."""
    python = given / "bin" / "python" if given.is_dir() else given
    try:
        look = subprocess.run(
            [str(python), "-c", _LOOK, recipe.package],
            capture_output=True,
            timeout=_LOOK_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"--python {given}: it cannot be run: {error}") from error
    if look.returncode != 0:
        raise EngineUnavailable(
            f"--python {given} has no package {recipe.package!r}; {install_line(recipe)}"
        )
    return python.absolute()  # not resolved: a link is what makes it that environment's
