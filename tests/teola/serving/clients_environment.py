"""An environment with the extra `clients`, whose openai is older than ours.

It is made once, in the cache folder, for each list of requirements.
"""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest

from backends.models.cache import cache_folder

_PROJECT = Path(__file__).parents[3] / "pyproject.toml"
_DRIVERS = Path(__file__).parent / "client_drivers"
_NO_NETWORK = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ProxyError",
    "Temporary failure in name resolution",
    "Network is unreachable",
)


class ClientsEnvironment:
    """Its folder is named by what is installed in it."""

    def __init__(self, requirements: list[str]) -> None:
        self._requirements = requirements
        version = f"py{sys.version_info.major}.{sys.version_info.minor}"
        key = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:12]
        self._folder = cache_folder() / "environments" / f"clients-{version}-{key}"

    def make(self) -> None:
        """Installs what is missing. Skips the test where no package index can be reached."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with self._folder.with_name(f"{self._folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._stamp.exists():
                self._install()

    def run(self, driver: str, *words: str) -> Any:
        """What a script of `client_drivers` prints last, as JSON."""
        command = [self._python, _DRIVERS / f"{driver}.py", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout.splitlines()[-1])

    @property
    def _python(self) -> Path:
        return self._folder / "bin" / "python"

    @property
    def _stamp(self) -> Path:
        return self._folder / "complete"

    def _install(self) -> None:
        print(f"\ninstalling {', '.join(self._requirements)} into {self._folder}", flush=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        venv.create(self._folder, with_pip=False, symlinks=True)
        command = [sys.executable, "-m", "pip", "--python", self._python, "install", "--quiet"]
        command += ["--no-compile", "--only-binary", ":all:", *self._requirements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and any(word in done.stderr for word in _NO_NETWORK):
            pytest.skip("no package index can be reached: the extra `clients` is not installed")
        assert done.returncode == 0, done.stderr
        self._stamp.touch()


def clients_environment() -> ClientsEnvironment:
    """Of the extra `clients`."""
    project = tomllib.loads(_PROJECT.read_text())["project"]
    return ClientsEnvironment(project["optional-dependencies"]["clients"])
