"""Stores behind apps: what belongs to one query or one Store object is seen by no other."""

import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from postgres_server import PostgresServer

import teola as tl
from samples import doc_qa, library

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


Url = Callable[[], str]
_collections = count(1)
OTHERS = ["qdrant", pytest.param("postgres", marks=pytest.mark.server)]


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Url:
    """Each call: the URL of a store that is empty."""

    def make() -> str:
        number = next(_collections)
        if request.param == "qdrant":
            return f"qdrant:{tmp_path / str(number)}"
        postgres: PostgresServer = request.getfixturevalue("postgres")
        return f"{postgres.url}?collection=app{number}"

    return make


@pytest.fixture
def library_files(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("ada", "alan", "grace"):
        text = " ".join(f"{name} wrote program {i} in year {1900 + i}." for i in range(60))
        (folder / f"{name}.md").write_text(f"# {name}\n\n{text}")
    return folder


@pytest.mark.parametrize("url", OTHERS, indirect=True)
@pytest.mark.parametrize("optimize", [True, False])
def test_a_sample_answers_on_every_store_as_on_the_local_one(
    url: Url, library_files: Path, optimize: bool
) -> None:
    def answer(store: str) -> str:
        engines = {"llm": "fake:", "embedder": "fake:", "store": store}
        app = doc_qa.ask.using(engines=engines, optimize=optimize)
        return app("What did grace write in year 1950?", [str(library_files)], k=3)

    assert answer(url()) == answer("local:")


@pytest.mark.parametrize("url", OTHERS, indirect=True)
def test_run_graph_takes_every_store(url: Url, library_files: Path, tmp_path: Path) -> None:
    def run(store: str) -> str:
        program = "from teola.cli.main import run_graph; run_graph()"
        words = ["samples/doc_qa.py:ask", "--question", "What did ada write in year 1910?"]
        words += ["--files", str(library_files), "--trace", str(tmp_path / "trace.jsonl")]
        for engine in ("llm=fake:", "embedder=fake:", f"store={store}"):
            words += ["--engine", engine]
        command = [sys.executable, "-c", program, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = run(url())
    assert found == run("local:")
    assert "p@ss" not in (tmp_path / "trace.jsonl").read_text()


@pytest.mark.parametrize("url", OTHERS, indirect=True)
def test_a_library_is_kept_in_step_with_its_files_on_every_store(
    url: Url, library_files: Path, tmp_path: Path
) -> None:
    def run(store: str) -> list[object]:
        engines = {"embedder": "fake:", "store": store}
        index = library.index.using(engines=engines)
        ask = library.ask.using(engines={**engines, "llm": "fake:"})
        counts = [index([str(library_files)]), index([str(library_files)])]
        return [*counts, ask("What did ada write?")]

    store = url()
    before = run(store)
    assert before == run(f"local:{tmp_path / 'local'}")
    (library_files / "ada.md").unlink()
    assert run(store)[:2] == [before[0] * 2 // 3] * 2  # type: ignore[operator]
