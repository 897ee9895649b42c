"""The file of runs: what it survives, and what it says of what it does not."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import RunInUse, RunNotFound, RunStoreFailed
from runtime.run_store.database import FILE, RunDatabase
from runtime.run_store.questions import GivenAnswer
from runtime.run_store.rows import NodeRow, NodeState, RunRow
from runtime.run_store.store import RunStore

RUN = RunRow("r1", "app", "", b"", "{}", "", 1.0)
NODE = NodeRow(b"key", "a.b", "decode", "decode", b"content", NodeState.DONE, b"value", 2.0)


@pytest.fixture
def database(tmp_path: Path) -> "RunDatabase":
    return RunDatabase(tmp_path / "runs")


def test_rows_come_back(database: RunDatabase) -> None:
    database.begin(RUN)
    database.put([("r1", NODE)])
    assert database.runs() == [RUN]
    assert [node.place for node in database.nodes("r1")] == ["a.b"]
    assert database.value("r1", b"key") == b"value"
    database.put([("r1", b"key")])
    assert database.nodes("r1") == []
    database.close()


def test_texts_that_utf_8_has_not_are_kept_as_escapes(database: RunDatabase) -> None:
    database.begin(replace(RUN, target="odd\udc80.py:app", tenant="half \ud83d"))
    database.end("r1", "failed", 2.0, "no file odd\udc80")
    database.answer("r1", NODE, GivenAnswer("q", "Half \ud83d?", "\ud83d", "ann\udc80", 3.0))
    (run,) = database.runs()
    assert (run.target, run.tenant) == ("odd\\udc80.py:app", "half \\ud83d")
    assert run.error == "no file odd\\udc80"
    (given,) = database.answers("r1")
    assert (given.question, given.value, given.by) == ("Half \\ud83d?", "\ud83d", "ann\\udc80")
    database.close()


def test_a_damaged_value_is_none(database: RunDatabase) -> None:
    database.begin(RUN)
    database.put([("r1", NODE)])
    with database.transaction() as db:
        db.execute("UPDATE nodes SET value = x'00'")
    assert database.value("r1", b"key") is None
    database.close()


def test_an_undone_transaction_leaves_nothing(database: RunDatabase) -> None:
    database.begin(RUN)
    with pytest.raises(RunStoreFailed, match="make room"):
        delete_and_fail(database)
    assert database.runs() == [RUN]
    database.close()


def delete_and_fail(database: RunDatabase) -> None:
    with database.transaction() as db:
        db.execute("DELETE FROM runs")
        raise sqlite3.OperationalError("as if the disk was full")


def test_others_cannot_read_the_folder(database: RunDatabase) -> None:
    database.begin(RUN)
    database.close()
    assert database.folder.stat().st_mode & 0o077 == 0
    assert (database.folder / FILE).stat().st_mode & 0o077 == 0


def test_a_file_of_another_version_is_refused(database: RunDatabase) -> None:
    database.begin(RUN)
    database.close()
    db = sqlite3.connect(database.folder / FILE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(RunStoreFailed, match="another version of teola"):
        database.runs()


def test_a_file_of_an_earlier_version_is_taken_over(database: RunDatabase) -> None:
    database.begin(RUN)
    database.put([("r1", NODE)])
    with database.transaction() as db:
        db.execute("DROP TABLE served")
        db.execute("DROP INDEX open_nodes")
    database.close()
    db = sqlite3.connect(database.folder / FILE)
    db.execute("PRAGMA user_version = 1")
    db.close()
    database.begin(replace(RUN, id="r2"), is_served=True)
    assert [run.id for run in database.runs()] == ["r1", "r2"]
    assert database.value("r1", b"key") == b"value"
    database.close()


def test_a_file_without_tenants_and_answers_is_taken_over(database: RunDatabase) -> None:
    database.begin(RUN)
    with database.transaction() as db:
        db.execute("DROP TABLE tenants")
        db.execute("DROP TABLE answers")
        db.execute("PRAGMA user_version = 2")
    database.close()
    database.begin(replace(RUN, id="r2", tenant="ann"))
    assert [run.tenant for run in database.runs()] == ["", "ann"]
    given = GivenAnswer("q", "Really?", {"yes": [1]}, "ann", 3.0)
    database.answer("r2", NODE, given)
    assert database.answers("r2") == [given]
    assert database.answers("r1") == []
    database.delete(["r2"])
    assert database.read("SELECT * FROM tenants") == database.answers("r2") == []
    database.close()


def test_a_file_that_knows_no_orders_is_taken_over(database: RunDatabase) -> None:
    database.begin(RUN)
    with database.transaction() as db:
        db.execute("DROP TABLE orders")
        db.execute("PRAGMA user_version = 3")
    database.close()
    ordered = replace(RUN, id="r2", objective="throughput", due_s=7.5, policy="least_slack")
    database.begin(ordered)
    assert database.runs() == [RUN, ordered]
    database.delete(["r2"])
    assert database.read("SELECT * FROM orders") == []
    database.close()


def test_a_file_whose_middle_is_damaged_is_said(database: RunDatabase) -> None:
    database.begin(RUN)
    for number in range(200):
        database.put([("r1", replace(NODE, key=b"%d" % number, value=b"long" * 500))])
    database.close()
    file = database.folder / FILE
    held = file.read_bytes()
    file.write_bytes(held[:4096] + b"damage" * 3000 + held[4096 + 18000 :])
    with pytest.raises(RunStoreFailed, match=r"runs: .*(move it away|make room)"):
        database.nodes("r1", 2**20)
    database.close()


def test_a_file_that_is_no_database_is_refused_and_stays(database: RunDatabase) -> None:
    database.folder.mkdir()
    (database.folder / FILE).write_text("no database" * 1000)
    with pytest.raises(RunStoreFailed, match="move it away"):
        database.runs()
    assert (database.folder / FILE).read_text().startswith("no database")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunStoreFailed, match="file"):
        RunDatabase(tmp_path / "file" / "runs").runs()


def test_a_run_has_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = RunStore(tmp_path), RunStore(tmp_path)
    first.begin(RUN).result()
    with pytest.raises(RunInUse):
        second.claim("r1").result()
    with pytest.raises(RunInUse):
        first.claim("r1").result()
    assert second.summaries()[0].state == "running"
    with pytest.raises(RunInUse):
        second.delete(["r1"])
    first.close()  # as if its process had ended
    assert second.summaries()[0].state == "crashed"
    assert second.claim("r1").result().row.id == "r1"
    second.end("r1", "failed", 3.0, "no").result()
    assert second.summaries()[0].state == "failed"
    second.delete(["r1"])
    assert second.summaries() == []
    with pytest.raises(RunNotFound):
        second.claim("r1").result()
    second.close()


def test_an_owner_leaves_no_file(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.begin(RUN).result()
    assert len(list((tmp_path / "owners").iterdir())) == 1
    store.close()
    assert list((tmp_path / "owners").iterdir()) == []


def test_files_of_dead_owners_are_swept_and_those_of_the_living_stay(tmp_path: Path) -> None:
    first = RunStore(tmp_path)
    first.begin(RUN).result()
    (tmp_path / "owners" / "dead").touch()
    second = RunStore(tmp_path)
    second.begin(replace(RUN, id="r2")).result()
    assert not (tmp_path / "owners" / "dead").exists()
    with pytest.raises(RunInUse):
        second.claim("r1").result()
    first.close()
    second.close()


def test_listing_a_folder_that_is_not_there_makes_none(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "none")
    assert store.summaries() == []
    store.close()
    assert not (tmp_path / "none").exists()
