"""A folder behind a thread: the loop never waits for it."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

from runtime.memo.folder import FILE, Folder
from runtime.memo.late_folder import MOST_WAITING, LateFolder


def test_reads_see_the_writes_before_them(tmp_path: Path) -> None:
    async def main() -> dict[bytes, Any]:
        folder = LateFolder(Folder(tmp_path))
        found: asyncio.Future[dict[bytes, Any]] = asyncio.get_running_loop().create_future()
        folder.put({b"a": "x"})
        folder.get([b"a", b"b"], found.set_result)
        assert not found.done()
        values = await found
        folder.close()
        return values

    assert asyncio.run(main()) == {b"a": "x"}


def test_all_is_written_when_it_is_closed(tmp_path: Path) -> None:
    folder = LateFolder(Folder(tmp_path))
    for number in range(100):
        folder.put({bytes([number]): number})
    folder.close()
    assert Folder(tmp_path).stats().num_values == 100


def test_writes_that_wait_are_bounded(tmp_path: Path) -> None:
    folder = LateFolder(Folder(tmp_path))
    folder._num_waiting = MOST_WAITING
    folder.put({b"a": "x"})
    folder.close()
    assert Folder(tmp_path).stats().num_values == 0


def test_a_folder_that_another_process_holds_is_left_out_this_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path, wait_s=0.01)
    folder.put_many({b"a": "x"})
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    folder.put_many({b"b": "y"})
    other.execute("ROLLBACK")
    other.close()
    folder.put_many({b"c": "z"})
    assert sorted(folder.get_many([b"a", b"b", b"c"])) == [b"a", b"c"]
    folder.close()


def test_who_asks_a_folder_that_fails_gets_nothing_and_does_not_wait(tmp_path: Path) -> None:
    class Failing(Folder):
        def get_many(self, keys: Any) -> dict[bytes, Any]:
            raise OSError(f"no disk for {len(keys)} keys")

    async def main() -> dict[bytes, Any]:
        folder = LateFolder(Failing(tmp_path))
        found: asyncio.Future[dict[bytes, Any]] = asyncio.get_running_loop().create_future()
        folder.get([b"a"], found.set_result)
        return await asyncio.wait_for(found, 5)

    assert asyncio.run(main()) == {}
