"""Stores behind apps: what belongs to one query or one Store object is seen by no other."""

from pathlib import Path

import pytest

import teola as tl

shared = tl.Store("local:")


@tl.app
def find(question: str, files: list[str]) -> list[tl.Doc]:
    index = shared.index(tl.split(tl.load(files)))
    return index.search(question, mode="bm25")


@pytest.fixture
def reports(tmp_path: Path) -> dict[str, str]:
    """Files of one name that two users brought."""
    for user, pay in (("alice", 100), ("bob", 900)):
        (tmp_path / user).mkdir()
        (tmp_path / user / "report.md").write_text(f"{user} earns {pay}")
    return {user: str(tmp_path / user / "report.md") for user in ("alice", "bob")}


@pytest.mark.parametrize("optimize", [True, False])
def test_files_of_one_name_stay_with_the_query_that_brought_them(
    reports: dict[str, str], optimize: bool
) -> None:
    calls = [{"question": "earns", "files": [file]} for file in reports.values()]
    found = find.using(optimize=optimize).batch(calls * 3)
    assert [[doc.text for doc in docs] for docs in found] == [
        ["alice earns 100"],
        ["bob earns 900"],
    ] * 3


def test_documents_keep_the_users_ids(reports: dict[str, str]) -> None:
    (doc,) = find("earns", [reports["bob"]])
    (loaded,) = tl.load([reports["bob"]])
    assert doc.id == f"{loaded.id}:0"
    assert loaded.id.startswith("report.md~")


def test_a_bad_file_of_a_folder_is_skipped_in_an_app_that_asks(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("Paris")
    (tmp_path / "bad.txt").write_bytes(b"\xff")

    @tl.app
    def read(files: list[str]) -> list[tl.Doc]:
        return tl.load(files, on_error="skip")

    @tl.app
    def read_all(files: list[str]) -> list[tl.Doc]:
        return tl.load(files)

    assert [doc.text for doc in read([str(tmp_path)])] == ["Paris"]
    with pytest.raises(Exception, match=r'bad\.txt: is not UTF-8 text.*on_error="skip"'):
        read_all([str(tmp_path)])


def count_in(reader: tl.Store, writer: tl.Store, name: str) -> int:
    @tl.app
    def write(texts: list[str]) -> list[tl.Doc]:
        index = writer.index(tl.split(tl.load(texts)))
        return index.search("earns", mode="bm25")

    @tl.app
    def everything(question: str) -> list[tl.Doc]:
        return reader.search(question, mode="bm25")

    assert len(write([name])) == 1
    return len(everything("earns"))


def test_two_stores_in_memory_share_nothing(reports: dict[str, str]) -> None:
    mine, other = tl.Store("local:"), tl.Store("local:")
    assert count_in(other, mine, reports["alice"]) == 0
    assert count_in(mine, mine, reports["bob"]) == 2


def test_two_stores_of_one_folder_are_one(reports: dict[str, str], tmp_path: Path) -> None:
    url = f"local:{tmp_path / 'store'}"
    assert count_in(tl.Store(url), tl.Store(url), reports["alice"]) == 1


def test_two_stores_in_memory_in_one_app_are_two_engines(reports: dict[str, str]) -> None:
    one, two = tl.Store("local:"), tl.Store("local:")

    @tl.app
    def both(files: list[str]) -> list[list[tl.Doc]]:
        docs = tl.split(tl.load(files))
        kept = one.index(docs).search("earns", mode="bm25")
        return [kept, two.search("earns", mode="bm25")]

    kept, nothing = both([reports["alice"]])
    assert (len(kept), len(nothing)) == (1, 0)


def test_a_store_in_memory_can_be_replaced_by_url(reports: dict[str, str]) -> None:
    docs = find.using(engines={"shared": "local:"})("earns", [reports["bob"]])
    assert [doc.text for doc in docs] == ["bob earns 900"]
