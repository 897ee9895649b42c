"""Indexes that leave an app, and come back into another; stores used outside of apps."""

import asyncio
from pathlib import Path

import pytest

import teola as tl

DOCS = [tl.Doc(f"{name} is a city", name) for name in ("Paris", "Rome", "Oslo")]


@pytest.fixture
def store() -> tl.Store:
    return tl.Store("fake:", embedder=tl.Embedder("fake:"))


def ids(docs: list[tl.Doc]) -> list[str]:
    return [doc.id for doc in docs]


def test_an_app_returns_its_index_which_other_apps_take(store: tl.Store) -> None:
    @tl.app
    def index(docs: list[tl.Doc]) -> tl.Index:
        return store.index(docs)

    @tl.app
    def ask(question: str, index: tl.Index) -> list[tl.Doc]:
        return index.search(question, k=1)

    cities, others = index(DOCS), index([tl.Doc("Paris, the prince", "prince")])
    assert ids(ask("Paris", cities)) == ["Paris"]
    assert ids(ask("Paris", others)) == ["prince"]
    assert ids(ask.using(optimize=False)("Rome is", cities)) == ["Rome"]
    assert "%index = input" in str(ask.graph("Paris", cities))
    assert ask.graph("Rome", others) == ask.graph("Paris", cities)


def test_an_index_comes_out_of_lists_dicts_and_async_apps(store: tl.Store) -> None:
    @tl.app
    def both(docs: list[tl.Doc]) -> dict[str, object]:
        return {"all": store.index(docs), "first": [store.index(docs), 1]}

    @tl.app
    async def later(docs: list[tl.Doc]) -> tl.Index:
        index = await tl.value(store.index(docs))
        assert ids(await tl.value(index.search("Oslo", k=1))) == ["Oslo"]
        return store.index(docs)

    @tl.app
    async def ask(question: str, index: tl.Index) -> list[tl.Doc]:
        return index.search(question, k=1)

    found = both(DOCS)
    assert ids(found["all"].search("Rome", k=1)) == ["Rome"]
    assert ids(found["first"][0].search("Rome", k=1)) == ["Rome"]
    assert ids(ask("Paris", later(DOCS))) == ["Paris"]


def test_an_index_made_on_other_engines_is_searched_there(store: tl.Store) -> None:
    @tl.app
    def index(docs: list[tl.Doc]) -> tl.Index:
        return store.index(docs)

    @tl.app
    def ask(question: str, index: tl.Index) -> list[tl.Doc]:
        return index.search(question, k=1)

    engines = {"store": "fake:elsewhere", "embedder": "fake:too"}
    found = index.using(engines=engines)(DOCS)
    assert ids(found.search("Rome", k=1)) == ids(ask("Rome", found)) == ["Rome"]
    assert store.count() == 0
    assert repr(found) == "<index of 3 documents in Store('fake:elsewhere')>"


def test_indexes_of_two_stores_make_two_programs_of_an_app() -> None:
    with_vectors = tl.Store("fake:", embedder=tl.Embedder("fake:"))
    without = tl.Store("fake:names-nobody-else")

    @tl.app
    def ask(question: str, index: tl.Index) -> list[tl.Doc]:
        return index.search(question, k=1, mode="bm25")

    for store in (with_vectors, without):
        assert ids(ask("Rome", store.index(DOCS))) == ["Rome"]
    assert without.count() == with_vectors.count() == 3


def test_an_index_of_an_app_that_takes_none_is_refused(store: tl.Store) -> None:
    @tl.app
    def ask(question: str, index: tl.Index) -> list[tl.Doc]:
        return index.search(question)

    with pytest.raises(TypeError, match="argument 'index'"):
        ask("x", "not an index")


def test_an_index_made_in_one_app_is_searched_in_an_app_inside(store: tl.Store) -> None:
    @tl.app
    def ask(question: str, index: tl.Index) -> list[tl.Doc]:
        return index.search(question, k=1)

    @tl.app
    def outer(question: str, docs: list[tl.Doc]) -> list[tl.Doc]:
        return ask(question, store.index(docs))

    assert ids(outer("Oslo", DOCS)) == ["Oslo"]


def test_an_index_of_a_branch_is_searched_in_the_branch(store: tl.Store) -> None:
    @tl.app
    def ask(docs: list[tl.Doc], question: str) -> list[tl.Doc]:
        index = tl.cond(docs, lambda: store.index(docs), lambda: store.index(docs))
        return index.search(question)

    with pytest.raises(tl.errors.SymbolicError, match="use it in the branch, body or function"):
        ask(DOCS, "Rome")


def test_a_tool_gets_an_index_that_it_can_search(store: tl.Store) -> None:
    @tl.tool
    def best(index: tl.Index, question: str) -> str:
        return index.search(question, k=1)[0].id

    @tl.app
    def ask(question: str, docs: list[tl.Doc]) -> str:
        return best(store.index(docs), question)

    assert ask("Oslo", DOCS) == "Oslo"


def test_a_store_is_used_outside_of_apps_on_the_apps_engine(store: tl.Store) -> None:
    @tl.app
    def how_many() -> int:
        return store.count()

    index = store.index(DOCS)
    assert (store.count(), how_many()) == (3, 3)
    assert ids(store.search("Rome", k=1)) == ids(index.search("Rome", k=1)) == ["Rome"]
    assert store.delete(ids="Rome") == 1
    assert store.delete(ids=["Rome", "Paris"]) == 1
    assert (store.count(), how_many(), store.clear(), store.count()) == (1, 1, 1, 0)
    assert repr(index) == "<index of 3 documents in Store('fake:')>"


def test_a_store_is_used_in_a_thread_of_a_coroutine(store: tl.Store) -> None:
    async def main() -> int:
        await asyncio.to_thread(store.index, DOCS)
        return await asyncio.to_thread(store.count)

    assert asyncio.run(main()) == 3


@pytest.mark.parametrize("optimize", [True, False])
def test_writes_and_reads_of_a_store_keep_the_programs_order(optimize: bool) -> None:
    store = tl.Store("fake:", embedder=tl.Embedder("fake:"))

    @tl.app
    def story(docs: list[tl.Doc], gone: str) -> list[object]:
        before = store.count()
        store.index(docs)
        then = store.count()
        removed = store.delete(ids=[gone])
        found = store.search("a city", k=9)
        cleared = store.clear()
        return [before, then, removed, found, cleared, store.count()]

    before, then, removed, found, cleared, after = story.using(optimize=optimize)(DOCS, "Rome")
    assert (before, then, removed, cleared, after) == (0, 3, 1, 2, 0)
    assert ids(found) == ["Paris", "Oslo"]


@pytest.mark.parametrize("optimize", [True, False])
def test_a_filter_may_depend_on_the_run(optimize: bool) -> None:
    store = tl.Store("local:")
    docs = [
        tl.Doc("text", f"{t}{y}", metadata={"title": t, "year": y}) for t in "ab" for y in (1, 2)
    ]
    store.index(docs)

    @tl.app
    def ask(title: str, years: list[int], rest: dict[str, int]) -> list[list[tl.Doc]]:
        filters = [{"title": title}, {"title": f"{title}"}, {"year": {"in": years}}, rest]
        return [store.search("text", mode="bm25", where=where) for where in filters]

    found = ask.using(optimize=optimize)("b", [2], {"year": 1})
    assert [ids(docs) for docs in found] == [["b1", "b2"], ["b1", "b2"], ["a2", "b2"], ["a1", "b1"]]

    @tl.app
    async def later(title: str) -> list[tl.Doc]:
        return store.search("text", mode="bm25", where={"title": title, "year": 2})

    assert ids(later("a")) == ["a2"]
    assert ids(later("b")) == ["b2"]
    assert len(later._segments) == 1


def test_a_constant_filter_stays_in_the_plan(store: tl.Store) -> None:
    @tl.app
    def ask(question: str) -> list[tl.Doc]:
        return store.search(question, where={"title": "a"})

    assert '[engine="store", k=10, mode="vector", where={"title": "a"}]' in str(ask.graph())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in "abc":
        (docs / f"{name}.md").write_text(f"# One\n\nthe {name}\n\n# Two\n\nmore of {name}")
    return docs


def titles(store: tl.Store) -> set[str]:
    return {str(doc.metadata["source"])[-4:-3] for doc in store.search("the", k=99)}


@pytest.mark.parametrize("optimize", [True, False])
def test_sync_leaves_nothing_of_what_changed_or_vanished(folder: Path, optimize: bool) -> None:
    store = tl.Store("fake:", embedder=tl.Embedder("fake:"))

    @tl.app
    def index(files: list[str]) -> tl.Index:
        passages = tl.split(tl.load(files), chunk_tokens=8, overlap=0)
        return store.index(passages, sync=True)

    index = index.using(optimize=optimize)
    store.index([tl.Doc("the other", "x", metadata={"source": "elsewhere.md"})])
    index([str(folder)])
    assert store.count() == 7
    (folder / "a.md").write_text("the a")
    (folder / "b.md").unlink()
    handle = index([str(folder)])
    assert store.count() == 4
    assert len(handle.search("the", k=99)) == 3
    assert titles(store) == {"a", "c", "e"}
    index([str(folder / "c.md")])
    assert store.count() == 4
    for file in folder.iterdir():
        file.unlink()
    index([str(folder)])
    assert titles(store) == {"e"}


def test_sync_goes_by_what_loaded_documents_say_outside_of_apps(folder: Path) -> None:
    store = tl.Store("fake:", embedder=tl.Embedder("fake:"))
    store.index(tl.load([f"{folder}/*.md"]), sync=True)
    (folder / "b.md").unlink()
    store.index(tl.load([f"{folder}/*.md"]), sync=True)
    assert titles(store) == {"a", "c"}
    store.index([], sync=[str(folder)])
    assert store.count() == 0


def test_sync_of_documents_made_by_hand_goes_by_their_source(store: tl.Store) -> None:
    def of(source: str, *names: str) -> list[tl.Doc]:
        return [tl.Doc(name, name, metadata={"source": source}) for name in names]

    store.index([*of("one", "a", "b"), *of("two", "c")], sync=True)
    store.index(of("one", "b", "d"), sync=True)
    assert set(ids(store.search("x", k=9))) == {"b", "c", "d"}


def test_a_tools_other_files_are_no_sources_of_its_documents(folder: Path) -> None:
    store = tl.Store("fake:", embedder=tl.Embedder("fake:"))

    @tl.tool
    def answer_of(docs: list[tl.Doc]) -> list[tl.Doc]:
        return [tl.Doc(f"{len(docs)} files", "n", metadata={"source": "made"})]

    @tl.app
    def make(files: list[str]) -> tl.Index:
        return store.index(answer_of(tl.load(files)), sync=True)

    store.index(tl.load([str(folder)]))
    make([str(folder)])
    assert store.count() == 4


def test_documents_go_by_file_folder_pattern_parent_and_source(folder: Path) -> None:
    store = tl.Store("fake:", embedder=tl.Embedder("fake:"))
    passages = tl.split(tl.load([str(folder)]), chunk_tokens=8, overlap=0)
    for source, left in (
        (str(folder / "a.md"), 4),
        (f"{folder}/[ab].md", 2),
        (str(folder), 0),
        ([str(folder / "a.md"), str(folder / "c.md")], 2),
        (f"{folder.parent}/**/b.md", 4),
        (str(folder / "a"), 6),
        (f"{folder.parent}/*.md", 6),
    ):
        store.index(passages)
        assert (store.delete(source=source), store.count()) == (6 - left, left)
        store.clear()
    store.index(passages)
    assert store.delete(ids=[passages[0].metadata["parent"]]) == 2


def test_a_deletion_of_nothing_in_particular_is_refused(store: tl.Store) -> None:
    with pytest.raises(tl.errors.TraceError, match=r"needs ids= or source=; Store\.clear"):
        store.delete()
