"""The store engine of this process; what it shares with others is in test_store_contract.py."""

import fcntl
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_testing import CAPITALS, COUNT, EAST, PLANE, Store, delete, ingest, names, search

from backends.base import Result
from backends.documents import Doc, Index
from backends.errors import ConfigError, EngineUnavailable
from backends.store import segments
from backends.store.factory import create
from backends.store.runner import StoreRunner

WRITER = Path(__file__).with_name("writer_process.py")


def reopen(folder: Path) -> Store:
    return Store(create("store", f"local:{folder}", {}))


@pytest.mark.parametrize("metadata", [{1: "a", "b": 2}, {"half": "\ud800"}])
def test_any_metadata_can_be_told_apart(metadata: dict[Any, Any]) -> None:
    runner = StoreRunner("default", None)
    (outcome,) = runner.run([ingest([Doc("a", "a", metadata=metadata), Doc("b", "b")])])
    assert isinstance(outcome, Result)
    assert names(outcome.outputs[0]) == ["a", "b"]


def test_unknown_options_name_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'path'\. Known options: collection, max_batch_items"):
        create("store", "local:", {"path": "x"})


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 12))
def test_search_is_brute_force_over_the_index_and_the_filter(seed: int, count: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, size=(count, 3)).astype(np.float32)  # many ties, some zero
    query = rng.integers(-2, 3, size=3).astype(np.float32)
    docs = [Doc(f"text {i}", str(i), metadata={"n": int(rng.integers(4))}) for i in range(count)]
    chosen = [int(i) for i in rng.permutation(count)[: max(1, count // 2)]]
    runner = StoreRunner("default", None)
    (written,) = runner.run([ingest(docs, vectors)])
    assert isinstance(written, Result)
    index = Index("default", tuple(written.outputs[0].ids[i] for i in chosen))
    (outcome,) = runner.run([search("", query, index, k=k, where={"n": {"ge": 2}})])

    def cosine(row: int) -> float:
        lengths = np.linalg.norm(vectors[row]) * np.linalg.norm(query)
        return round(float(vectors[row] @ query / max(lengths, 1e-9)), 5)

    wanted = sorted(i for i in chosen if docs[i].metadata["n"] >= 2)
    expected = sorted(wanted, key=lambda row: (-cosine(row), row))[:k]
    assert isinstance(outcome, Result)
    found = [round(doc.score, 5) for doc in outcome.outputs[0]]
    assert found == pytest.approx([cosine(row) for row in expected], abs=2e-5)


def test_a_reopened_store_gives_the_same_results(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    requests = [
        search("text 3 of 7", rng.normal(size=8).astype(np.float32), mode=mode, k=30)
        for mode in ("vector", "bm25", "hybrid")
    ]
    first = reopen(tmp_path)
    for part in range(5):
        docs = [
            Doc(f"text {i} of {part}\u2028ü", metadata={"n": (i, part)}) for i in range(part, 20)
        ]
        first.run(ingest(docs, rng.normal(size=(len(docs), 8)).astype(np.float32)))
    first.run(ingest([Doc("without a vector", "bare")]))
    for text in ("one", "two", "one"):  # the newest is not the last written row
        index = first.value(ingest([Doc(text, "changing")], np.ones((1, 8), np.float32)))
    requests.append(search("one two", mode="bm25"))
    requests.append(search("one two", mode="bm25", index=index))
    before = first.run(*requests)
    first.close()
    second = reopen(tmp_path)
    assert second.run(*requests) == before
    assert isinstance(before[0], Result)
    assert len(before[0].outputs[0]) == 30
    assert [doc.text for doc in second.value(requests[-2])] == ["one"]
    second.close()


def test_what_is_on_the_disk_already_is_not_written_again(tmp_path: Path) -> None:
    store = reopen(tmp_path)
    for docs in (CAPITALS, CAPITALS[:2], [Doc("Lyon", "fr")], CAPITALS[:2]):
        store.run(ingest(docs))
    store.close()
    assert len(list(tmp_path.glob("*.jsonl"))) == 3
    store = reopen(tmp_path)
    assert store.ids(search("Paris Lyon", mode="bm25")) == ["fr"]
    store.close()


def lines_of(folder: Path) -> list[int]:
    """The changes in each segment."""
    paths = sorted(folder.glob("*.jsonl"))
    return [len(path.read_text().splitlines()) - 1 for path in paths]


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    store = reopen(tmp_path)
    docs = [Doc(f"text {i}", str(i), metadata={"n": (i,)}) for i in range(28)]
    vectors = np.random.default_rng(0).normal(size=(28, 3)).astype(np.float32)
    store.run(ingest(docs, vectors), ingest(docs, vectors))
    docs[3] = Doc("something else", "3")
    store.run(ingest(docs, vectors))
    store.run(ingest(docs[:5], vectors[:5]), ingest(docs, vectors))
    store.run(delete(["5"]), delete(["5", "6"]))
    store.run(delete(["5"]))
    store.close()
    assert lines_of(tmp_path) == [28, 1, 1, 1]
    store = reopen(tmp_path)
    assert store.value(COUNT) == 26
    store.run(ingest(docs, vectors))
    assert lines_of(tmp_path) == [28, 1, 1, 1, 2]
    store.close()


def test_deletions_last_and_are_seen_by_other_processes(tmp_path: Path) -> None:
    one, two = reopen(tmp_path), reopen(tmp_path)
    one.run(ingest(CAPITALS, PLANE))
    assert two.value(delete(["fr", "jp"])) == 2
    assert one.ids(search("", EAST)) == ["de", "bananas"]
    one.run(ingest(CAPITALS[:1], PLANE[:1]))
    assert two.ids(search("", EAST)) == ["fr", "de", "bananas"]
    for store in (one, two):
        store.close()
    store = reopen(tmp_path)
    assert store.ids(search("", EAST)) == ["fr", "de", "bananas"]
    store.close()


@pytest.fixture
def tidy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are rewritten as soon as most of what they hold does not count."""
    monkeypatch.setattr("backends.store.runner._SPARE_CHANGES", 0)


@pytest.mark.usefixtures("tidy")
def test_what_no_longer_counts_is_removed_from_the_disk(tmp_path: Path) -> None:
    one, two = reopen(tmp_path), reopen(tmp_path)
    index = one.value(ingest([*CAPITALS[:3], Doc("the secret", "secret")], PLANE))
    two.run(COUNT)
    for text in "abcd":
        one.run(ingest([Doc(text, "changing")], EAST[None]))
    before = one.value(search("", EAST))
    one.run(delete(["secret"]))
    assert len(lines_of(tmp_path)) < 5
    one.run(delete(["jp"]))
    files = sorted(path.name for path in tmp_path.glob("0*"))
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.glob("0*.jsonl"))
    assert [Path(name).suffix for name in files].count(".jsonl") <= 2
    expected = [doc for doc in before if doc.id not in ("secret", "jp")]
    assert one.value(search("", EAST)) == two.value(search("", EAST)) == expected
    assert len(two.value(search("", EAST, index))) == 4
    two.run(delete(all=True))
    assert (one.value(COUNT), lines_of(tmp_path)) == (0, [0])
    for store in (one, two):
        store.close()
    store = reopen(tmp_path)
    assert store.value(COUNT) == 0
    store.run(ingest(CAPITALS, PLANE))
    assert store.value(COUNT) == 4
    store.close()


@pytest.mark.usefixtures("tidy")
def test_a_segment_that_goes_while_it_is_read_is_replaced_by_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = reopen(tmp_path)
    writer.run(ingest(CAPITALS, PLANE))
    read = segments._read

    def slowly(path: Path) -> segments.Segment:
        monkeypatch.setattr(segments, "_read", read)
        writer.run(delete(["fr", "de", "bananas"]))
        assert not path.exists()
        return read(path)

    monkeypatch.setattr(segments, "_read", slowly)
    reader = reopen(tmp_path)
    assert reader.ids(search("", EAST)) == ["jp"]
    reader.close()
    writer.close()


@pytest.mark.parametrize("suffix", [".jsonl", ".npy"])
@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_torn_last_segment_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, keep: float
) -> None:
    store = reopen(tmp_path)
    store.run(ingest(CAPITALS[:2], PLANE[:2]))
    store.run(ingest(CAPITALS[2:], PLANE[2:]))
    store.close()
    last = max(tmp_path.glob(f"*{suffix}"))
    torn = last.read_bytes()[: int(last.stat().st_size * keep)]
    last.write_bytes(torn)

    with caplog.at_level(logging.WARNING):
        store = reopen(tmp_path)
    assert "torn" in caplog.text
    assert last.name in caplog.text
    assert store.ids(search("", EAST)) == ["fr", "de"]
    store.run(ingest(CAPITALS[3:], PLANE[3:]))  # goes on in the torn one's place
    store.close()
    aside = last.with_suffix(".torn" if suffix == ".jsonl" else ".npy.torn")
    assert aside.read_bytes() == torn
    store = reopen(tmp_path)
    assert store.ids(search("", EAST)) == ["fr", "de", "bananas"]
    store.close()


def test_a_crash_before_the_last_rename_leaves_no_trace(tmp_path: Path) -> None:
    store = reopen(tmp_path)
    store.run(ingest(CAPITALS[:2], PLANE[:2]))
    store.run(ingest(CAPITALS[2:], PLANE[2:]))
    store.close()
    last = max(tmp_path.glob("*.jsonl"))
    last.rename(last.with_name(last.name + ".part"))
    store = reopen(tmp_path)
    assert store.ids(search("", EAST)) == ["fr", "de"]
    store.run(ingest(CAPITALS[2:3], PLANE[2:3]))
    store.close()
    store = reopen(tmp_path)
    assert store.ids(search("", EAST)) == ["fr", "de", "jp"]
    store.close()


@pytest.mark.parametrize("crash_at", range(1, 7))
def test_a_process_that_ends_between_two_writes_leaves_whole_segments(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, crash_at: int
) -> None:
    with caplog.at_level(logging.WARNING):
        run_process(tmp_path, "crash", crash_at)
        store = reopen(tmp_path)
    found = store.ids(search("", EAST))
    assert found in ([], ["fr", "de"], ["fr", "de", "jp", "bananas"], ["jp", "bananas"])
    # a segment is two files, each written beside and then renamed
    assert len(found) == [0, 0, 0, 2, 2, 2, 4][crash_at]
    assert caplog.text == ""
    store.run(ingest(CAPITALS, PLANE))
    store.close()
    store = reopen(tmp_path)
    assert sorted(store.ids(search("", EAST))) == ["bananas", "de", "fr", "jp"]
    store.close()


def test_damage_in_the_middle_is_never_passed_over(tmp_path: Path) -> None:
    store = reopen(tmp_path)
    store.run(ingest(CAPITALS[:2], PLANE[:2]))
    store.run(ingest(CAPITALS[2:], PLANE[2:]))
    store.close()
    first = min(tmp_path.glob("*.npy"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(EngineUnavailable, match=f"{first.name} is torn.*not the last segment"):
        reopen(tmp_path)


def test_two_openings_may_write_one_folder(tmp_path: Path) -> None:
    one, two = reopen(tmp_path), reopen(tmp_path)
    one.run(ingest(CAPITALS[:2], PLANE[:2]))
    two.run(ingest(CAPITALS[2:], PLANE[2:]))
    everything = ["fr", "de", "jp", "bananas"]
    assert one.ids(search("", EAST)) == two.ids(search("", EAST)) == everything
    one.close()
    two.close()


def start_process(folder: Path, *command: Any) -> "subprocess.Popen[str]":
    script = [sys.executable, str(WRITER), str(folder), *map(str, command)]
    return subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_process(folder: Path, *command: Any) -> None:
    process = start_process(folder, *command)
    process.communicate(timeout=300)


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_process_writes_alone(tmp_path: Path) -> None:
    """The writer says so while it writes, and waits to be told to go on."""
    process = start_process(tmp_path, "pause", "append")
    assert said(process) == "append"
    with (tmp_path / "write.lock").open("ab") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    process.communicate("\n", timeout=300)
    assert process.returncode == 0


def test_a_process_sees_what_was_written_while_it_waited_for_the_lock(tmp_path: Path) -> None:
    process = start_process(tmp_path, "pause", "lock")
    assert said(process) == "lock"  # it has read the folder, and will ask for the lock
    store = reopen(tmp_path)
    store.run(ingest(CAPITALS[2:], PLANE[2:]))
    process.communicate("\n", timeout=300)
    assert sorted(store.ids(search("", EAST))) == ["bananas", "de", "fr", "jp"]
    store.close()
    assert not list(tmp_path.glob("*.torn"))


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    processes = [start_process(tmp_path, "many", number, 8) for number in range(3)]
    for process in processes:
        process.communicate(timeout=300)
        assert process.returncode == 0
    store = reopen(tmp_path)
    wanted = {f"{number}.{i}" for number in range(3) for i in range(8)}
    assert set(store.ids(search("", EAST, k=99))) == wanted
    store.close()


def test_metadata_that_is_not_json_is_rejected_on_disk(tmp_path: Path) -> None:
    store = reopen(tmp_path)
    assert "document 'x' cannot be stored as JSON" in store.error(
        ingest([Doc("text", "x", metadata={"f": object()})])
    )
    store.close()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineUnavailable, match="cannot open the store"):
        reopen(tmp_path / "file")
