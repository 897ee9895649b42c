"""The servers that were started on this machine, as small files in teola's cache folder."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from backends.errors import ConfigError
from backends.models.cache import cache_folder
from backends.processes.process_group import identity

_KEPT_LOGS = 20


@dataclass(frozen=True, slots=True)
class Record:
    """A server that runs: what to call it, where it is, which process group it has."""

    name: str  # "vllm-8000"
    url: str  # of an engine: "vllm://127.0.0.1:8000/smollm2-135m"
    model: str
    health_url: str
    log: str
    pid: int  # of its group's leader
    identity: str  # of that process: see `process_group.identity`
    began: float = field(default_factory=time.time)

    @property
    def is_running(self) -> bool:
        return identity(self.pid) == self.identity


def folder() -> Path:
    return cache_folder() / "servers"


def log_path(name: str) -> Path:
    return folder() / f"{name}.log"


def events_socket(name: str) -> Path:
    return folder() / f"{name}.kv"


def keep(record: Record) -> None:
    """Write the record; its file has no secrets, as the server's arguments are not in it."""
    path = _path(record.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def forget(name: str) -> None:
    """Remove what a server leaves behind, but not its log."""
    _path(name).unlink(missing_ok=True)
    events_socket(name).unlink(missing_ok=True)


def running() -> list[Record]:
    """The servers that run, oldest first; records of ended ones are removed."""
    found = []
    for path in sorted(folder().glob("*.json")):
        record = _read(path)
        if record is not None and record.is_running:
            found.append(record)
        else:
            forget(path.stem)
    return sorted(found, key=lambda record: record.began)


def find(word: str | None) -> Record:
    """A running server by its name, port or URL; the only one when `word` is None. Raises
    ConfigError, which names those that run."""
    known = running()
    fitting = [r for r in known if word is None or word in (r.name, r.url, _port(r))]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(record.name for record in known)
    if not known:
        raise ConfigError("no server of `teola engine start` is running")
    problem = "which server?" if word is None else f"no server {word!r} is running, but"
    raise ConfigError(f"{problem} {names}")


def prune_logs(kept: Sequence[str]) -> None:
    """Remove all but the newest logs; those of `kept` servers stay."""
    logs = sorted(folder().glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in logs[_KEPT_LOGS:]:
        if path.stem not in kept:
            path.unlink(missing_ok=True)


def _port(record: Record) -> str:
    return record.name.rpartition("-")[2]


def _path(name: str) -> Path:
    return folder() / f"{name}.json"


def _read(path: Path) -> Record | None:
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # cut short, or another version's
