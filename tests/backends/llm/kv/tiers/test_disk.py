"""A folder of pages that several processes share."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.llm.kv.tiers.disk import HEADER_BYTES, DiskTier
from backends.llm.kv.tiers.kv_folder import SUFFIX, KVFolder
from backends.llm.kv.tiers.page_key import DIGEST_BYTES, PageKeys

PAGE_BYTES = 64


MODEL, LAYOUT = "a" * 16, "b" * 16


def tier(root: Path, max_bytes: int = 1 << 20, model: str = MODEL) -> DiskTier:
    return DiskTier(KVFolder(root, model, LAYOUT, max_bytes), PAGE_BYTES)


def key_of(number: int) -> bytes:
    return bytes([number]) * DIGEST_BYTES


def test_a_tier_that_opens_leaves_what_another_is_writing(tmp_path: Path) -> None:
    unfinished = tier(tmp_path).folder / f"{key_of(1).hex()}.77.tmp"
    unfinished.write_bytes(b"x")
    assert tier(tmp_path).num_bad == 0
    assert unfinished.exists()


def test_what_was_never_finished_goes_in_the_end(tmp_path: Path) -> None:
    unfinished = tier(tmp_path).folder / f"{key_of(1).hex()}.77.tmp"
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
        if self != tmp_path:
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
            if SUFFIX in str(target):
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
    return tier(folder, num_pages * (PAGE_BYTES + HEADER_BYTES))


def test_what_was_touched_stays_now_and_after_a_restart(tmp_path: Path) -> None:
    disk = small_tier(tmp_path, 3)
    for number in (1, 2, 3):
        disk.put(key_of(number), b"x" * PAGE_BYTES)
        os.utime(disk.folder / f"{key_of(number).hex()}.kv", (number, number))
    disk.touch(key_of(1))
    again = small_tier(tmp_path, 2)
    assert [key_of(number) in again for number in (1, 2, 3)] == [True, False, True]
    assert len(list(again.folder.iterdir())) == 2
    again.put(key_of(4), b"x" * PAGE_BYTES)
    assert [key_of(number) in again for number in (1, 3, 4)] == [True, False, True]
    again.touch(key_of(1))
    again.put(key_of(5), b"x" * PAGE_BYTES)
    assert [key_of(number) in again for number in (1, 4, 5)] == [True, False, True]


def test_a_page_under_another_name_is_not_that_page(tmp_path: Path) -> None:
    folder = tier(tmp_path).folder
    tier(tmp_path).put(key_of(1), b"x" * PAGE_BYTES)
    shutil.copy(folder / f"{key_of(1).hex()}.kv", folder / f"{key_of(2).hex()}.kv")
    disk = tier(tmp_path)
    assert disk.get(key_of(2)) is None
    assert disk.num_bad == 1
    assert disk.get(key_of(1)) == b"x" * PAGE_BYTES


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    os.umask(0o022)
    disk = tier(tmp_path / "kv")
    assert disk.put(key_of(1), b"x" * PAGE_BYTES)
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "kv").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert (tmp_path / "kv").stat().st_mode & 0o777 == 0o700


def test_names_depend_on_a_secret_of_the_folder(tmp_path: Path) -> None:
    one, other = (KVFolder(tmp_path / name, MODEL, LAYOUT, 1000).secret for name in "ab")
    assert one != other
    assert KVFolder(tmp_path / "a", MODEL, LAYOUT, 1000).secret == one
    ids = list(range(4))
    assert (
        PageKeys("m", 4, one).following(b"", ids, 0)
        != PageKeys("m", 4, other).following(b"", ids, 0)
        != PageKeys("m", 4).following(b"", ids, 0)
    )


def test_a_secret_that_others_may_have_read_is_made_anew(tmp_path: Path) -> None:
    before = KVFolder(tmp_path, MODEL, LAYOUT, 1000).secret
    (tmp_path / ".secret").chmod(0o644)
    assert KVFolder(tmp_path, MODEL, LAYOUT, 1000).secret != before
    assert (tmp_path / ".secret").stat().st_mode & 0o777 == 0o600


def test_pages_of_another_version_of_the_model_are_dropped(tmp_path: Path) -> None:
    stale = tier(tmp_path)
    kept = tier(tmp_path, model="c" * 16)
    ancient = tmp_path / "kv-0123456789abcdef"  # as folders were named once
    ancient.mkdir()
    foreign = tmp_path / "kv-notes"
    foreign.mkdir()
    for disk in (stale, kept):
        disk.put(key_of(1), b"x" * PAGE_BYTES)
    KVFolder(tmp_path, MODEL, "d" * 16, 1000)
    assert not stale.folder.exists()
    assert not ancient.exists()
    assert foreign.exists()
    assert kept.get(key_of(1)) == b"x" * PAGE_BYTES


def test_processes_and_models_share_one_bound(tmp_path: Path) -> None:
    file_bytes = PAGE_BYTES + HEADER_BYTES
    tiers = [tier(tmp_path, 5 * file_bytes, model) for model in (MODEL, MODEL, "c" * 16)]
    for number in range(30):
        assert tiers[number % 3].put(key_of(number), b"x" * PAGE_BYTES)
        files = list(tmp_path.rglob("*.kv"))
        assert sum(path.stat().st_size for path in files) <= 5 * file_bytes
    assert {path.stem for path in files} == {key_of(number).hex() for number in range(25, 30)}
    for disk in tiers:
        disk.check_integrity()


def test_a_count_that_was_lost_or_is_wrong_is_made_of_what_is_there(tmp_path: Path) -> None:
    disk = tier(tmp_path, 3 * (PAGE_BYTES + HEADER_BYTES))
    for number, count in enumerate([b"nonsense", b"0", b"99999999", b""]):
        (tmp_path / ".bytes").write_bytes(count)
        assert disk.put(key_of(number), b"x" * PAGE_BYTES)
    (tmp_path / ".bytes").unlink()
    assert disk.put(key_of(9), b"x" * PAGE_BYTES)
    assert len(list(disk.folder.iterdir())) <= 3
