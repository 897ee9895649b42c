"""Where runs are kept."""

import os
import shlex
from pathlib import Path


def default_folder() -> Path:
    """`TEOLA_RUNS`, or `teola/runs` in the user's folder for state."""
    if chosen := os.environ.get("TEOLA_RUNS"):
        return Path(chosen).expanduser()
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "teola" / "runs"


def option_of(folder: Path) -> str:
    """What commands on runs in a folder take: nothing for the default one."""
    return "" if folder == default_folder().absolute() else f" --runs {shlex.quote(str(folder))}"
