"""The transfer thread, on a store of a few bytes."""

from pathlib import Path

import torch
from torch import Tensor

from backends.llm.kv.page_table import Load
from backends.llm.kv.tiers.disk import HEADER_BYTES, DiskTier
from backends.llm.kv.tiers.host import UNKNOWN, HostTier
from backends.llm.kv.tiers.kv_folder import KVFolder
from backends.llm.kv.tiers.page_codec import Raw
from backends.llm.kv.tiers.page_key import DIGEST_BYTES
from backends.llm.kv.tiers.transfer_worker import TransferWorker
from backends.llm.stats import CacheStats

PAGE_BYTES = 8


class Store:
    """Remembers the pages that were brought."""

    def __init__(self) -> None:
        self.brought: dict[int, int] = {}

    def export_pages(self, pages: list[int]) -> Tensor:
        return torch.tensor(pages, dtype=torch.uint8)[:, None].expand(-1, PAGE_BYTES).clone()

    def import_pages(self, pages: list[int], values: Tensor) -> None:
        self.brought.update(zip(pages, values[:, 0].tolist(), strict=True))


def key_of(number: int) -> bytes:
    return bytes([number]) * DIGEST_BYTES


def disk_of(folder: Path, num_pages: int) -> DiskTier:
    max_bytes = num_pages * (PAGE_BYTES + HEADER_BYTES)
    return DiskTier(KVFolder(folder, "a" * 16, "b" * 16, max_bytes), PAGE_BYTES)


def save(worker: TransferWorker, *numbers: int) -> None:
    rows = Store().export_pages(list(numbers))
    worker.save([key_of(n) for n in numbers], rows, [UNKNOWN] * len(numbers))
    worker.drain()


def test_of_pages_that_were_brought_the_last_of_the_prefix_goes_first(tmp_path: Path) -> None:
    store, stats, disk = Store(), CacheStats(), disk_of(tmp_path, 3)
    worker = TransferWorker(store, PAGE_BYTES, Raw(PAGE_BYTES), None, disk, stats)
    save(worker, 1, 2, 3)
    load = Load([key_of(n) for n in (1, 2, 3)], [10, 11, 12])
    worker.load(load)
    worker.drain()
    assert (load.is_done, load.num_disk, load.num_host) == (True, 3, 0)
    assert store.brought == {10: 1, 11: 2, 12: 3}
    save(worker, 4)
    assert [key_of(n) in worker for n in (1, 2, 3, 4)] == [True, True, False, True]
    worker.close()


def test_what_leaves_the_host_goes_to_disk_and_so_does_the_rest_at_the_end(tmp_path: Path) -> None:
    disk = disk_of(tmp_path, 9)
    worker = TransferWorker(
        Store(), PAGE_BYTES, Raw(PAGE_BYTES), HostTier(2, PAGE_BYTES, False), disk, CacheStats()
    )
    save(worker, 1, 2, 3)
    assert [key_of(n) in disk for n in (1, 2, 3)] == [True, False, False]
    worker.close()
    assert [key_of(n) in disk for n in (1, 2, 3)] == [True, True, True]


def test_a_load_ends_at_the_first_page_that_is_missing(tmp_path: Path) -> None:
    store, stats = Store(), CacheStats()
    worker = TransferWorker(store, PAGE_BYTES, Raw(PAGE_BYTES), None, disk_of(tmp_path, 9), stats)
    save(worker, 1, 3)
    load = Load([key_of(n) for n in (1, 2, 3)], [10, 11, 12])
    worker.load(load)
    worker.drain()
    assert (load.is_done, load.num_pages) == (True, 1)
    assert store.brought == {10: 1}
    assert stats.bytes_from_disk == PAGE_BYTES
    worker.clear()
    assert key_of(1) not in worker
    assert list(tmp_path.rglob("*.kv")) == []
    worker.close()
