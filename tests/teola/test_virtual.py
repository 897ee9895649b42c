"""Apps recorded on one set of engines, and run on emulated ones: the same answers, other times."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from tokenizers import Tokenizer, models, pre_tokenizers

import teola as tl
from backends.errors import ConfigError
from teola.cli.target import load_app
from teola.errors import NodeFailed
from teola.runner import AppRunner, chosen_runner
from teola.virtual import VirtualRun, on_virtual_clock

REPLIES = {
    "Expand": '{"queries": ["sea water", "blue deep"]}',
    "Answer": "The sea is deep, and salty. Ask a fish.",
    "first lines": "It was a fish.",
}
llm = tl.LLM("fake:", replies=REPLIES, decode_parts=True)
embedder = tl.Embedder("fake:")
store = tl.Store("local:", embedder=embedder)
reranker = tl.Reranker("fake:")

DOCS = [
    tl.Doc(text)
    for text in ("The sea is deep.", "Water is wet.", "Trees are green.", "A blue whale.", "Salt.")
]


class Queries(BaseModel):
    queries: list[str]


@tl.prompt(llm, out=Queries)
def expand(question: str) -> str:
    return f"Expand: {question}"


@tl.prompt(llm, system="Be brief.", max_tokens=64)
def answer(question: str, docs: list[tl.Doc]) -> str:
    return f"Answer {question} from {tl.join(docs, '{text}')}"


@tl.tool
def shout(text: str) -> str:
    return text.upper()


@tl.app
def rag(question: str, docs: list[tl.Doc]) -> str:
    index = store.index(docs)
    found = tl.map(lambda query: index.search(query, k=2), expand(question).queries)
    return shout(answer(question, reranker(question, tl.flatten(found, unique=True), k=2)))


@tl.app
async def two_turns(question: str) -> str:
    story = await tl.value(answer(question, []))
    return await tl.value(answer(f"more on {story}", []))


def emulated(recording: Path, **options: Any) -> dict[str, str]:
    more = "".join(f"&{name}={value}" for name, value in options.items())
    device = "emulated:a100"
    behind = f"?recording={recording}{more}"
    return {
        "llm": f"{device}/llama-3.1-8b{behind}&tokenizer=bytes",
        "embedder": f"{device}/bge-large{behind}",
        "reranker": f"{device}/bge-reranker-large{behind}",
    }


@pytest.fixture
def runner() -> Iterator[AppRunner]:
    runner = AppRunner()
    with chosen_runner(runner):
        yield runner
    runner.close()


@pytest.fixture
def recording(tmp_path: Path, runner: AppRunner) -> Path:
    path = tmp_path / "run.jsonl"
    rag.using(record=str(path))("What of the sea?", DOCS)
    return path


@pytest.mark.parametrize("optimize", [True, False])
def test_a_recorded_app_gives_its_answer_on_emulated_engines(
    recording: Path, optimize: bool, caplog: pytest.LogCaptureFixture
) -> None:
    expected = rag("What of the sea?", DOCS)
    assert expected == "THE SEA IS DEEP, AND SALTY. ASK A FISH."
    app = rag.using(engines=emulated(recording), optimize=optimize, memo=False)
    with caplog.at_level(logging.WARNING):
        run = tl.run_virtually(app, "What of the sea?", DOCS)
    assert run.result == expected
    assert run.seconds > 0
    assert "not in the recording" not in caplog.text


def test_passages_are_cut_as_in_the_recorded_run(tmp_path: Path, runner: AppRunner) -> None:
    path = str(tmp_path / "run.jsonl")
    docs = [tl.Doc(" ".join(f"unfathomable{n}" for n in range(300)), metadata={"source": "sea"})]
    own = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    own.save(str(tmp_path / "tokenizer.json"))
    first = tl.Embedder(f"emulated:h100/bge-small?tokenizer={tmp_path / 'tokenizer.json'}")
    library = tl.Store("local:", embedder=first)

    @tl.app
    def passages(docs: list[tl.Doc]) -> list[tl.Doc]:
        return library.index(tl.split(docs)).search("sea", k=99)

    recorded = [found.text for found in passages.using(record=path)(docs)]
    assert 1 < len(recorded) < 5
    again = passages.using(engines={"embedder": f"emulated:h100/bge-large?recording={path}"})
    found = tl.run_virtually(again, docs).result
    assert sorted(doc.text for doc in found) == sorted(recorded)


def test_what_was_not_recorded_is_told_and_made_up(
    recording: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = rag.using(engines=emulated(recording), memo=False)
    tl.run_virtually(app, "What of trees?", DOCS)
    assert "llama-3.1-8b: 2 of 2 requests were not in the recording" in caplog.text


def test_an_async_app_is_recorded_over_its_segments(tmp_path: Path, runner: AppRunner) -> None:
    path = tmp_path / "run.jsonl"
    expected = two_turns.using(record=str(path))("What of the sea?")
    engines = {"llm": emulated(path)["llm"]}
    run = tl.run_virtually(two_turns.using(engines=engines, memo=False), "What of the sea?")
    assert run.result == expected


def test_the_wall_clock_agrees_with_the_virtual_one(recording: Path) -> None:
    app = rag.using(engines=emulated(recording), memo=False)
    virtual_s = tl.run_virtually(app, "What of the sea?", DOCS).seconds
    assert virtual_s > 0.5, "long enough for a busy machine to matter little"
    app("What of the sea?", DOCS)  # loads the engines
    wall_s = timed(lambda: app("What of the sea?", DOCS))
    for _ in range(9):  # where the machine is busy
        if wall_s < 1.4 * virtual_s:
            break
        wall_s = min(wall_s, timed(lambda: app("What of the sea?", DOCS)))
    assert 0.95 * virtual_s < wall_s < 1.4 * virtual_s


def timed(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def test_a_virtual_run_is_the_same_each_time_and_takes_little(recording: Path) -> None:
    app = rag.using(engines=emulated(recording), memo=False)
    first, second = (tl.run_virtually(app, "What of the sea?", DOCS) for _ in range(2))
    assert first == second
    wall_s = min(timed(lambda: tl.run_virtually(app, "What of the sea?", DOCS)) for _ in range(3))
    assert wall_s < first.seconds


def test_an_engine_in_real_time_cannot_be_on_a_virtual_clock() -> None:
    for name, url in {"llm": "local:smollm2-135m", "embedder": "local:all-minilm-l6-v2"}.items():
        app = rag.using(engines={name: url})
        with pytest.raises(ConfigError, match=rf"engine '{name}'.*real time.*emulated:h100"):
            tl.run_virtually(app, "What?", DOCS)


@pytest.mark.parametrize("url", ["postgresql://db.lan/docs", "qdrant://db.lan/docs"])
def test_a_database_cannot_be_on_a_virtual_clock(url: str) -> None:
    with pytest.raises(ConfigError, match="take one in this process"):
        tl.run_virtually(rag.using(engines={"store": url}), "What?", DOCS)


def test_a_plain_function_cannot_wait_for_an_app_on_a_virtual_clock() -> None:
    @tl.tool
    def asks(question: str) -> str:
        return two_turns(question)

    @tl.app
    def around(question: str) -> str:
        return asks(question)

    with pytest.raises(NodeFailed, match=r"await app\.arun"):
        tl.run_virtually(around, "What?")


@pytest.mark.parametrize(("app", "inputs"), [(two_turns, ["What?"]), (rag, ["What?", DOCS])])
def test_events_cannot_be_waited_for_on_a_virtual_clock(app: Any, inputs: list[Any]) -> None:
    async def listen() -> None:
        next(iter(app.stream(*inputs)))

    with pytest.raises(RuntimeError, match=r"app\.astream"):
        on_virtual_clock(listen)


def test_an_app_runs_virtually_where_a_loop_runs_as_in_a_notebook(recording: Path) -> None:
    app = two_turns.using(engines={"llm": emulated(recording)["llm"]})

    async def cell() -> VirtualRun:
        return tl.run_virtually(app, "What?")

    assert asyncio.run(cell()) == tl.run_virtually(app, "What?")


@pytest.mark.model
@pytest.mark.parametrize("optimize", [True, False])
def test_answers_of_real_models_are_given_again(
    tmp_path: Path, runner: AppRunner, optimize: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sample = Path(__file__).parents[2] / "samples"
    app = load_app(f"{sample / 'advanced_rag.py'}:rag")
    question = "Until which year do the developers intend to support SQLite?"
    arguments = {"question": question, "files": [str(sample / "data/sqlite/lts.md")]}
    path = tmp_path / "run.jsonl"
    expected = app.using(record=str(path), memo=False)(**arguments)
    behind = f"?recording={path}"
    engines = {
        "llm": f"emulated:h100/llama-3.1-8b{behind}",
        "embedder": f"emulated:h100/bge-large{behind}",
        "reranker": f"emulated:h100/bge-reranker-large{behind}",
    }
    replayed = app.using(engines=engines, memo=False, optimize=optimize)
    run = tl.run_virtually(replayed, **arguments)
    assert run.result == expected
    assert run.seconds < 2
    assert "not in the recording" not in caplog.text
