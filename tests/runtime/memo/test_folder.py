"""The memo's folder: what comes back is what was kept, or nothing."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.documents import Doc
from runtime.memo.folder import FILE, Folder, MemoWarning, decode, encode


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path / "memo")
    yield made
    made.close()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.builds(Doc, st.text(), st.text(), st.none() | st.just(0.5), st.just({"page": 1})),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(value=VALUES)
def test_a_kept_value_comes_back_equal_and_of_its_type(value: Any) -> None:
    data = encode(value)
    assert data is not None
    again = decode(data)
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("value", [{1: "a"}, {"a"}, object(), float("nan"), np.zeros(2)])
def test_what_would_not_come_back_equal_is_not_kept(value: Any) -> None:
    assert encode(value) is None


def test_values_are_there_in_another_process(folder: Folder, tmp_path: Path) -> None:
    folder.put_many({b"k": np.arange(3, dtype=np.float32), b"d": [Doc("text", "id")]})
    code = (
        "from pathlib import Path; from runtime.memo.folder import Folder; "
        f"found = Folder(Path({str(tmp_path / 'memo')!r})).get_many([b'k', b'd', b'none']); "
        "print(found[b'k'].tolist(), found[b'd'][0].text, len(found))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[0.0, 1.0, 2.0] text 2\n"


def test_a_damaged_value_is_left_out_with_a_warning_and_removed(folder: Folder) -> None:
    folder.put_many({b"a": "good", b"b": "bad"})
    with sqlite3.connect(folder.path / FILE) as db:
        db.execute("UPDATE memo SET value = ? WHERE key = ?", (b'j"bed"', b"b"))
    db.close()
    with pytest.warns(MemoWarning, match="1 values were damaged"):
        assert folder.get_many([b"a", b"b"]) == {b"a": "good"}
    assert folder.stats().num_values == 1


def test_a_file_that_is_no_database_is_replaced(folder: Folder) -> None:
    folder.path.mkdir()
    (folder.path / FILE).write_bytes(b"not a database" * 100)
    with pytest.warns(MemoWarning, match="is damaged and starts anew"):
        assert folder.get_many([b"a"]) == {}
    folder.put_many({b"a": "again"})
    assert folder.get_many([b"a"]) == {b"a": "again"}


def test_a_folder_that_cannot_be_made_is_gone_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = Folder(tmp_path / "file" / "memo")
    with pytest.warns(MemoWarning, match="is not used from now on"):
        folder.put_many({b"a": "x"})
    assert folder.get_many([b"a"]) == {}  # and warns no more


def test_the_longest_unused_goes_when_there_is_too_much(tmp_path: Path) -> None:
    folder = Folder(tmp_path, max_bytes=250)
    folder.put_many({b"a": "x" * 96})
    folder.put_many({b"b": "x" * 96})
    folder.get_many([b"a"])
    folder.put_many({b"c": "x" * 96})
    assert sorted(folder.get_many([b"a", b"b", b"c"])) == [b"a", b"c"]
    folder.close()


def test_clearing_tells_what_there_was_and_leaves_nothing(folder: Folder) -> None:
    folder.put_many({bytes([i, j]): f"{i} {j}" for i in range(40) for j in range(20)})
    assert len(folder.get_many([bytes([i, j]) for i in range(40) for j in range(20)])) == 800
    assert folder.clear().num_values == 800
    assert folder.stats().num_values == 0


def test_looking_makes_no_folder(tmp_path: Path) -> None:
    assert Folder(tmp_path / "none").stats().num_values == 0
    assert not (tmp_path / "none").exists()


def test_reading_does_not_wait_for_who_writes(tmp_path: Path) -> None:
    patient = Folder(tmp_path / "memo", wait_s=60.0)
    patient.put_many({b"a": "x"})
    other = sqlite3.connect(patient.path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began_s = time.perf_counter()
    assert patient.get_many([b"a"]) == {b"a": "x"}
    assert time.perf_counter() - began_s < 30.0
    other.execute("ROLLBACK")
    other.close()
    patient.close()


def test_a_full_disk_is_gone_without(folder: Folder) -> None:
    folder.put_many({b"a": "x"})
    assert folder._connection is not None
    folder._connection.execute("PRAGMA max_page_count = 6")
    with pytest.warns(MemoWarning, match="is not used from now on: database or disk is full"):
        folder.put_many({b"b": "y" * 100_000})
    folder.put_many({b"c": "z"})
    assert folder.get_many([b"a", b"b", b"c"]) == {}


def test_what_is_there_is_not_counted_at_each_write(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    stats = folder.stats
    monkeypatch.setattr(folder, "stats", lambda: looks.append(1) or stats())
    for number in range(20):
        folder.put_many({bytes([number]): "x"})
    assert len(looks) == 1
