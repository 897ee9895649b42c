"""Reads adapters on a thread of its own, so that no step waits for a file."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.model.config import ModelConfig
from backends.llm.model.dtypes import Device


class AdapterReader:
    """`read` is `files.read_adapter` for a model; `num_bytes` says what an adapter takes in memory,
    and makes the model's own form of it."""

    def __init__(
        self, read: Callable[[Path], LoadedAdapter], num_bytes: Callable[[LoadedAdapter], int]
    ) -> None:
        self._read = read
        self._num_bytes = num_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="llm adapters")

    def read(self, folder: Path) -> LoadedAdapter:
        """All of it, ready for use; any thread may call. Raises ConfigError."""
        loaded = self._read(folder)
        self._num_bytes(loaded)
        return loaded

    def num_bytes(self, loaded: LoadedAdapter) -> int:
        return self._num_bytes(loaded)

    def start(self, folder: Path) -> "Future[LoadedAdapter]":
        """As `read`, on the thread."""
        return self._thread.submit(self.read, folder)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def wait_for_one(reads: "Iterable[Future[LoadedAdapter]]", timeout_s: float) -> None:
    wait(list(reads), timeout_s, FIRST_COMPLETED)


def read_adapter(folder: Path, model: ModelConfig, device: Device) -> LoadedAdapter:
    """`files.read_adapter`, which needs torch."""
    from backends.llm.lora.files import read_adapter

    return read_adapter(folder, model, device)
