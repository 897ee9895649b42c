"""One line of JSON for each answered request, written by a thread: a slow disk delays no token."""

import json
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import TextIO

from backends.errors import ConfigError

_MAX_WAITING = 10_000  # lines; more are counted, and left out


@dataclass(frozen=True, slots=True)
class Access:
    """One request."""

    at_s: float  # since the epoch, when it came
    request_id: str
    client: str
    method: str
    path: str
    status: int  # 499: the client went away
    num_bytes: int  # of the answer's body
    first_s: float | None  # to the head of the answer
    total_s: float


class AccessLog:
    """Any thread may note; one thread writes."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._waiting: SimpleQueue[Access | None] = SimpleQueue()
        self._num_dropped = 0
        self._thread = threading.Thread(target=self._write_all, name="access log", daemon=True)
        self._thread.start()

    def note(self, access: Access) -> None:
        if self._waiting.qsize() < _MAX_WAITING:
            self._waiting.put(access)
        else:
            self._num_dropped += 1

    def close(self) -> None:
        """All that was noted is written when this returns."""
        self._waiting.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        while (access := self._waiting.get()) is not None:
            batch = [access]
            while not self._waiting.empty():
                following = self._waiting.get()
                if following is None:
                    self._waiting.put(None)
                    break
                batch.append(following)
            self._write(batch)

    def _write(self, batch: Iterable[Access]) -> None:
        lines = [_line(access) for access in batch]
        dropped, self._num_dropped = self._num_dropped, 0
        if dropped:
            lines.append(json.dumps({"dropped_lines": dropped}))
        try:
            self._file.write("\n".join(lines) + "\n")
            self._file.flush()
        except OSError:  # a full disk stops no server
            self._num_dropped += dropped + len(lines)


def open_log(path: str, at_end: ExitStack) -> AccessLog:
    """`-` is standard error. `at_end` closes it. Raises ConfigError."""
    file = sys.stderr if path == "-" else at_end.enter_context(_opened(Path(path)))
    log = AccessLog(file)
    at_end.callback(log.close)
    return log


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write the access log {path}: {error.strerror}") from None


def _line(access: Access) -> str:
    fields = asdict(access)
    at = datetime.fromtimestamp(fields.pop("at_s"), UTC).isoformat(timespec="milliseconds")
    times = {name: _rounded(fields.pop(name)) for name in ("first_s", "total_s")}
    return json.dumps({"time": at, **fields, **times})


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
