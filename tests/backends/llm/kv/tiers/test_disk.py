"""A folder of pages that several processes share."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.llm.kv.tiers.disk import DiskTier
from backends.llm.kv.tiers.page_file import HEADER_BYTES
from backends.llm.kv.tiers.page_key import DIGEST_BYTES

PAGE_BYTES = 64


def tier(folder: Path) -> DiskTier:
    return DiskTier(folder, PAGE_BYTES, 1 << 20)


def key_of(number: int) -> bytes:
    return bytes([number]) * DIGEST_BYTES


def test_a_tier_that_opens_leaves_what_another_is_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tier(tmp_path)
    replace = Path.replace

    def slowly(self: Path, target: Any) -> Path:
        assert tier(tmp_path).num_bad == 0
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", slowly)
    assert one.put(key_of(1), b"x" * PAGE_BYTES)
    assert one.get(key_of(1)) == b"x" * PAGE_BYTES


def test_what_was_never_finished_goes_in_the_end(tmp_path: Path) -> None:
    unfinished = tmp_path / f"{key_of(1).hex()}.77.tmp"
    unfinished.write_bytes(b"x")
    os.utime(unfinished, (0, 0))
    assert tier(tmp_path).num_bad == 1
    assert not unfinished.exists()


def test_a_file_may_vanish_while_a_tier_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier(tmp_path).put(key_of(1), b"x" * PAGE_BYTES)
    listed = Path.iterdir

    def with_ghosts(self: Path) -> Iterator[Path]:
        yield self / f"{key_of(2).hex()}.kv"
        yield self / f"{key_of(2).hex()}.77.tmp"
        yield from listed(self)

    monkeypatch.setattr(Path, "iterdir", with_ghosts)
    opened = tier(tmp_path)
    assert (len(opened), opened.num_bad) == (1, 0)


def test_a_file_removed_while_it_is_written_is_one_page_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = tier(tmp_path)
    with monkeypatch.context() as patch:
        replace = Path.replace

        def too_late(self: Path, target: Any) -> Path:
            self.unlink()
            return replace(self, target)

        patch.setattr(Path, "replace", too_late)
        assert not disk.put(key_of(1), b"x" * PAGE_BYTES)
    assert key_of(1) not in disk
    assert disk.put(key_of(2), b"y" * PAGE_BYTES)
    assert not caplog.records


def test_a_folder_that_was_removed_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = tier(tmp_path / "kv")
    shutil.rmtree(tmp_path / "kv")
    with caplog.at_level(logging.WARNING):
        assert not disk.put(key_of(1), b"x" * PAGE_BYTES)
        assert not disk.put(key_of(2), b"x" * PAGE_BYTES)
    assert len(caplog.records) == 1


def test_a_page_that_another_process_removed_is_held_no_more(tmp_path: Path) -> None:
    one = tier(tmp_path)
    assert one.put(key_of(1), b"x" * PAGE_BYTES)
    other = tier(tmp_path)
    one.drop(key_of(1))
    assert other.get(key_of(1)) is None
    assert key_of(1) not in other
    assert other.put(key_of(1), b"x" * PAGE_BYTES)


def small_tier(folder: Path, num_pages: int) -> DiskTier:
    return DiskTier(folder, PAGE_BYTES, num_pages * (PAGE_BYTES + HEADER_BYTES))


def test_what_was_touched_stays_now_and_after_a_restart(tmp_path: Path) -> None:
    disk = small_tier(tmp_path, 3)
    for number in (1, 2, 3):
        disk.put(key_of(number), b"x" * PAGE_BYTES)
        os.utime(tmp_path / f"{key_of(number).hex()}.kv", (number, number))
    disk.touch(key_of(1))
    again = small_tier(tmp_path, 2)
    assert [key_of(number) in again for number in (1, 2, 3)] == [True, False, True]
    assert len(list(tmp_path.iterdir())) == 2
    again.put(key_of(4), b"x" * PAGE_BYTES)
    assert [key_of(number) in again for number in (1, 3, 4)] == [True, False, True]
    again.touch(key_of(1))
    again.put(key_of(5), b"x" * PAGE_BYTES)
    assert [key_of(number) in again for number in (1, 4, 5)] == [True, False, True]


def test_a_page_under_another_name_is_not_that_page(tmp_path: Path) -> None:
    tier(tmp_path).put(key_of(1), b"x" * PAGE_BYTES)
    shutil.copy(tmp_path / f"{key_of(1).hex()}.kv", tmp_path / f"{key_of(2).hex()}.kv")
    disk = tier(tmp_path)
    assert disk.get(key_of(2)) is None
    assert disk.num_bad == 1
    assert disk.get(key_of(1)) == b"x" * PAGE_BYTES
