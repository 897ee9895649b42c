"""Runs that are kept on disk, and go on: in this process, where what ended them was an error."""

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import teola as tl
from runtime import tries
from runtime.events import Event
from runtime.run_store.database import FILE
from teola.resuming import CodeChanged
from teola.runner import AppRunner, chosen_runner, default_runner

llm = tl.LLM("fake:")
made: list[str] = []  # what tools with effects were called with
broken: set[str] = set()  # what they refuse


@tl.tool
def send(text: str) -> str:
    made.append(text)
    if text in broken:
        raise ValueError(f"refused {text}")
    return f"sent {text}"


@tl.tool(pure=True)
def loud(text: str) -> str:
    made.append(f"pure {text}")
    return text.upper()


@tl.tool(pure=True)
def merge(first: str, others: list[str]) -> str:
    return ", ".join([first, *others])


@tl.prompt(llm, temperature=0.9)
def write(topic: str) -> str:
    return f"Write about {topic}."


@tl.app
def letters(topics: list[str]) -> list[str]:
    texts = tl.map(loud, topics)
    return tl.map(send, texts)


@tl.app
async def mails(topics: list[str]) -> list[str]:
    return [await tl.value(send(loud(topic))) for topic in topics]


@pytest.fixture(autouse=True)
def _runner() -> Iterator[None]:
    made.clear()
    broken.clear()
    runner = AppRunner()
    with chosen_runner(runner):
        yield
        runner.close()


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


def failed_id(app: Any, folder: str, *args: Any) -> str:
    with pytest.raises(Exception) as caught:
        app.using(runs=folder, memo=False)(*args)
    assert caught.value is not None
    return tl.runs(folder)[0].id


@pytest.mark.parametrize("app", [letters, mails])
def test_a_run_that_failed_goes_on_where_it_failed(app: Any, folder: str) -> None:
    broken.add("B")
    run_id = failed_id(app, folder, ["a", "b", "c"])
    assert tl.runs(folder)[0].state == "failed"
    assert "refused B" in tl.runs(folder)[0].run.error
    broken.clear()
    before = len(made)
    assert tl.resume(run_id, runs=folder) == ["sent A", "sent B", "sent C"]
    assert made[:before].count("A") == 1
    assert [call for call in made[before:] if not call.startswith("pure")] == ["B", "C"]
    assert "pure a" not in made[before:]
    assert tl.runs(folder)[0].state == "finished"


def test_a_finished_run_gives_its_result_again(folder: str) -> None:
    assert letters.using(runs=folder)(["a"]) == ["sent A"]
    run_id, before = tl.runs(folder)[0].id, len(made)
    assert asyncio.run(tl.aresume(run_id, runs=folder)) == ["sent A"]
    assert len(made) == before


def test_without_runs_nothing_is_kept(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEOLA_RUNS", folder)
    assert letters(["a"]) == ["sent A"]
    assert tl.runs() == []
    assert letters.using(runs=True)(["b"]) == ["sent B"]
    assert [each.run.app for each in tl.runs()] == ["letters"]


def test_a_sampled_text_is_not_drawn_again(folder: str) -> None:
    texts: list[str] = []

    @tl.tool
    def publish(text: str) -> str:
        texts.append(text)
        if len(texts) == 1:
            raise ValueError("full")
        return text

    @tl.app
    async def news(topic: str) -> str:
        return await tl.value(publish(write(topic)))

    with tl.fake(llm, ["one", "two"]), pytest.raises(tl.errors.NodeFailed):
        news.using(runs=folder)("rain")
    with tl.fake(llm, ["three"]):
        run_id = tl.runs(folder)[0].id
        assert tl.resume(run_id, runs=folder, app=news) == texts[0] == "one"


def test_a_batch_is_a_run_for_each_call(folder: str) -> None:
    letters.using(runs=folder).batch([["a"], ["b"]])
    mails.using(runs=folder).batch([["c"], ["d"]])
    assert [each.run.app for each in tl.runs(folder)] == ["mails"] * 2 + ["letters"] * 2


def test_a_stream_is_kept_and_a_left_one_is_interrupted(folder: str) -> None:
    events = list(letters.using(runs=folder).stream(["a"]))
    (run,) = tl.runs(folder)
    assert run.state == "finished"
    assert {e.fields["stored_as"] for e in events if e.kind == "query"} == {run.id}


def test_what_an_app_took_for_a_failure_it_takes_again(folder: str) -> None:
    @tl.app
    async def careful(topic: str) -> str:
        try:
            return await tl.value(send(topic))
        except ValueError as error:
            await tl.value(send(f"sorry: {error}"))
            return await tl.value(send("last"))

    broken.update(("a", "last"))
    run_id = failed_id(careful, folder, "a")
    assert made == ["a", "sorry: refused a", "last"]
    broken.clear()
    assert tl.resume(run_id, runs=folder, app=careful) == "sent last"
    assert made == ["a", "sorry: refused a", "last", "last"]


@pytest.mark.parametrize("reads", [True, False])
def test_a_tool_of_which_all_tries_failed_is_not_tried_again(reads: bool, folder: str) -> None:
    @tl.tool(retries=1, reads=reads)
    def charge(card: str) -> str:
        made.append(card)
        if card in broken:
            raise ValueError(f"refused {card}")
        return "paid"

    @tl.app
    async def shop(card: str, needs: bool) -> str:
        try:
            paid = await tl.value(charge(card))
        except ValueError:
            if needs:
                raise
            paid = "owed"
        return await tl.value(send(paid))

    broken.update(("visa", "owed"))
    taken = failed_id(shop, folder, "visa", False)
    ended = failed_id(shop, folder, "visa", True)
    assert made == ["visa", "visa", "owed", "visa", "visa"]
    broken.clear()
    assert tl.resume(taken, runs=folder, app=shop) == "sent owed"
    assert made[5:] == ["owed"]
    assert tl.resume(ended, runs=folder, app=shop) == "sent paid"
    assert made[6:] == ["visa", "paid"]


def test_a_run_that_stops_between_two_tries_has_the_tries_that_are_left(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @tl.tool(retries=2)
    def charge(card: str) -> str:
        made.append(card)
        if card in broken:
            raise ValueError(f"refused {card}")
        return "paid"

    @tl.app
    async def shop(card: str) -> str:
        try:
            return await tl.value(charge(card))
        except ValueError:
            return "owed"

    pauses = threading.Event()

    def listen(event: Event) -> None:
        if event.kind == "retry":
            pauses.set()

    async def stopped() -> None:
        app = shop.using(runs=folder, memo=False, listener=listen)
        run = asyncio.create_task(app.arun("visa"))
        assert await asyncio.to_thread(pauses.wait, 60)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    broken.add("visa")
    with monkeypatch.context() as patch:
        patch.setattr(tries, "FIRST_DELAY_S", 60.0)
        patch.setattr(tries, "MAX_DELAY_S", 60.0)
        asyncio.run(stopped())
    assert made == ["visa"]
    broken.clear()
    assert tl.resume(tl.runs(folder)[0].id, runs=folder, app=shop) == "paid"


def test_another_effect_at_a_place_is_refused_before_it_happens(folder: str) -> None:
    clock = iter(range(100))

    @tl.app
    async def dated(topic: str) -> str:
        await tl.value(send(f"{topic} at {next(clock)}"))
        return await tl.value(send("last"))

    broken.add("last")
    run_id = failed_id(dated, folder, "a")
    broken.clear()
    with pytest.raises(tl.errors.RunDiverged, match="other arguments"):
        tl.resume(run_id, runs=folder, app=dated)
    assert made == ["a at 0", "last"]


def test_what_the_store_refuses_is_not_tried_again(folder: str) -> None:
    numbers = iter(range(100))
    events: list[Any] = []
    made_numbers: list[int] = []

    @tl.tool(retries=20)
    def post(number: int) -> int:
        made_numbers.append(number)
        return number

    @tl.app
    async def numbered() -> str:
        await tl.value(post(next(numbers)))
        return await tl.value(send("last"))

    broken.add("last")
    with pytest.raises(tl.errors.NodeFailed):
        numbered.using(runs=folder)()
    broken.clear()
    with pytest.raises(tl.errors.RunDiverged):
        tl.resume(tl.runs(folder)[0].id, runs=folder, app=numbered.using(listener=events.append))
    assert made_numbers == [0]
    assert not [event for event in events if event.kind == "retry"]


def test_an_effect_whose_end_cannot_be_written_is_not_tried_again(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.run_store.database import RunDatabase

    put: Callable[..., None] = RunDatabase.put
    disk = Disk()
    made_texts: list[str] = []

    def full(self: RunDatabase, rows: Any) -> None:
        if disk.is_full:
            raise tl.errors.RunStoreFailed("the disk is full")
        put(self, rows)

    @tl.tool(retries=5)
    def fill(text: str) -> str:
        made_texts.append(text)
        disk.is_full = len(made_texts) < 2  # a second call could be written down
        return text

    @tl.app
    async def one() -> str:
        return await tl.value(fill("a"))

    monkeypatch.setattr(RunDatabase, "put", full)
    with pytest.raises(tl.errors.RunStoreFailed, match="disk is full"):
        one.using(runs=folder)()
    assert made_texts == ["a"]


def test_no_app_takes_a_divergence_for_a_failure_of_a_tool(folder: str) -> None:
    clock = iter(range(100))

    @tl.app
    async def deaf(topic: str) -> str:
        for _ in range(2):
            try:
                await tl.value(send(f"{topic} at {next(clock)}"))
            except Exception:
                topic = "again"
        return await tl.value(send("last"))

    broken.add("last")
    run_id = failed_id(deaf, folder, "a")
    broken.clear()
    with pytest.raises(tl.errors.RunDiverged):
        tl.resume(run_id, runs=folder, app=deaf)
    assert made == ["a at 0", "a at 1", "last"]


def test_tasks_that_take_turns_find_their_own_results(folder: str) -> None:
    @tl.app
    async def both() -> list[str]:
        async def one(name: str) -> str:
            await tl.value(send(f"{name} 1"))
            return await tl.value(send(f"{name} 2"))

        found = await asyncio.gather(one("x"), one("y"))
        return [*found, await tl.value(send("last"))]

    broken.add("last")
    run_id = failed_id(both, folder)
    broken.clear()
    assert tl.resume(run_id, runs=folder, app=both) == ["sent x 2", "sent y 2", "sent last"]
    assert sorted(made) == ["last", "last", "x 1", "x 2", "y 1", "y 2"]


def test_equal_effects_count_each(folder: str) -> None:
    @tl.app
    async def thrice() -> list[str]:
        found = [await tl.value(send("x")) for _ in range(3)]
        return [*found, await tl.value(send("last"))]

    broken.add("last")
    run_id = failed_id(thrice, folder)
    broken.clear()
    tl.resume(run_id, runs=folder, app=thrice)
    assert made == ["x", "x", "x", "last", "last"]


def test_control_and_nested_apps_go_on_inside(folder: str) -> None:
    @tl.app
    async def inner(name: str) -> str:
        first = await tl.value(send(f"{name} in"))
        return await tl.value(send(f"{first} out"))

    @tl.app
    def outer(names: list[str]) -> str:
        found = tl.map(inner, names)
        short = tl.cond(loud("x"), lambda: send("then"), lambda: send("else"))
        turned = tl.loop(lambda s: (send(s), True), short, max=2)
        return merge(turned, found)

    broken.add("b in")
    run_id = failed_id(outer, folder, ["a", "b"])
    broken.clear()
    before = list(made)
    result = tl.resume(run_id, runs=folder, app=outer)
    assert result == "sent sent sent then, sent sent a in out, sent sent b in out"
    effects = [call for call in made if not call.startswith("pure")]
    assert effects.count("a in") == effects.count("sent a in out") == 1
    assert effects.count("b in") == 2
    assert len(made) > len(before)


def test_texts_are_not_written_again(folder: str) -> None:
    @tl.app
    async def talk(topic: str) -> str:
        chat = tl.Chat(llm, system="Be short.")
        first = await chat.ask(topic)
        await tl.value(send("middle"))
        second = await chat.ask("And?")
        return f"{first} | {second}"

    broken.add("middle")
    script = tl.fake(llm, {"rain": "wet", "And?": "cold"})
    with script, pytest.raises(tl.errors.NodeFailed):
        talk.using(runs=folder)("rain")
    broken.clear()
    with tl.fake(llm, {"And?": "cold"}):  # no reply for the first turn any more
        run_id = tl.runs(folder)[0].id
        assert tl.resume(run_id, runs=folder, app=talk) == "wet | cold"


class Total(BaseModel):
    total: int


@tl.prompt(llm, out=Total, temperature=0.9)
def add(text: str) -> str:
    return text


@tl.app
def sum_up(text: str) -> Total:
    return add(text)


def test_a_text_that_was_not_valid_is_written_again(folder: str) -> None:
    with tl.fake(llm, ["no JSON", '{"total": 3}']):
        with pytest.raises(tl.errors.OutputInvalid):
            sum_up.using(runs=folder)("1 and 2")
        assert tl.resume(tl.runs(folder)[0].id, runs=folder) == Total(total=3)


def test_a_damaged_row_is_computed_again(folder: str) -> None:
    broken.add("B")
    run_id = failed_id(letters, folder, ["a", "b"])
    broken.clear()
    default_runner().run_stores.close()
    db = sqlite3.connect(Path(folder) / FILE)
    db.execute("UPDATE nodes SET value = x'22' WHERE name = 'loud'")
    db.commit()
    db.close()
    before = len(made)
    assert tl.resume(run_id, runs=folder) == ["sent A", "sent B"]
    assert sorted(made[before:]) == ["B", "pure a", "pure b"]


def test_a_damaged_effect_is_in_doubt(folder: str) -> None:
    broken.add("B")
    run_id = failed_id(letters, folder, ["a", "b"])
    broken.clear()
    default_runner().run_stores.close()
    db = sqlite3.connect(Path(folder) / FILE)
    db.execute("UPDATE nodes SET value = x'22' WHERE name = 'send'")
    db.commit()
    db.close()
    with pytest.raises(tl.errors.EffectInDoubt, match="cannot be read again"):
        tl.resume(run_id, runs=folder)
    assert tl.resume(run_id, runs=folder, in_doubt="skip") == [None, "sent B"]
    assert made.count("A") == 1


def test_a_result_that_cannot_be_kept_is_in_doubt(folder: str) -> None:
    class Handle:
        pass

    @tl.tool
    def open_it(name: str) -> Any:
        made.append(name)
        return Handle()

    @tl.app
    async def uses(name: str) -> str:
        await tl.value(open_it(name))
        return await tl.value(send("last"))

    broken.add("last")
    run_id = failed_id(uses, folder, "door")
    broken.clear()
    with pytest.raises(tl.errors.EffectInDoubt, match="open_it"):
        tl.resume(run_id, runs=folder, app=uses)
    assert tl.resume(run_id, runs=folder, app=uses, in_doubt="retry") == "sent last"
    assert made == ["door", "last", "door", "last"]


def test_a_store_in_memory_is_filled_again(folder: str) -> None:
    store = tl.Store("local:")

    @tl.tool(pure=True)
    def make_docs(text: str) -> list[tl.Doc]:
        return [tl.Doc(text)]

    @tl.app
    async def ask(text: str) -> list[str]:
        index = store.index(make_docs(text))
        await tl.value(send("middle"))
        found = await tl.value(index.search("rain", k=1, mode="bm25"))
        return [doc.text for doc in found]

    broken.add("middle")
    run_id = failed_id(ask, folder, "rain falls")
    broken.clear()
    with chosen_runner(AppRunner()):  # as another process: the store is empty
        assert tl.resume(run_id, runs=folder, app=ask) == ["rain falls"]
        default_runner().close()


def test_keys_of_engines_are_not_kept(folder: str) -> None:
    @tl.app
    async def said(topic: str) -> str:
        return await tl.value(send(str(await tl.value(write(topic)))))

    url = "openai:http://127.0.0.1:9/v1?api_key=sesame&model=m"
    with tl.fake(llm, ["x", "x"]):
        run_id = failed_id(said.using(engines={"llm": url}), folder, "rain")
        assert all(b"sesame" not in path.read_bytes() for path in Path(folder).glob("runs*"))
        with pytest.raises(tl.errors.ConfigError, match="--engine llm=URL"):
            tl.resume(run_id, runs=folder, app=said)


def test_arguments_that_cannot_be_kept_are_asked_for(folder: str) -> None:
    class Box:
        text = "a"

    @tl.app
    async def unbox(box: Box) -> str:
        return await tl.value(send(box.text))

    broken.add("a")
    run_id = failed_id(unbox, folder, Box())
    broken.clear()
    with pytest.raises(tl.errors.RunNotFound, match="arguments"):
        tl.resume(run_id, runs=folder, app=unbox)
    assert tl.resume(run_id, runs=folder, app=unbox, arguments={"box": Box()}) == "sent a"


def test_an_app_that_no_module_names_is_asked_for(folder: str) -> None:
    @tl.app
    async def hidden() -> str:
        return await tl.value(send("a"))

    hidden.using(runs=folder)()
    with pytest.raises(tl.errors.RunNotFound, match="app="):
        tl.resume(tl.runs(folder)[0].id, runs=folder)


def test_changed_code_is_said_and_what_it_changed_runs(folder: str, tmp_path: Path) -> None:
    source = (
        "import teola as tl\n"
        "@tl.tool(pure=True)\n"
        "def step(x: str) -> str:\n    return x + 'OLD'\n"
        "@tl.tool\n"
        "def act(x: str) -> str:\n    raise ValueError(x)\n"
        "@tl.app\n"
        "def app(x: str) -> str:\n    return act(step(x))\n"
    )
    from teola.cli.target import load_app

    file = tmp_path / "changing.py"
    file.write_text(source)
    run_id = failed_id(load_app(str(file)), folder, "a")
    file.write_text(source.replace("OLD", "NEWER").replace("raise ValueError(x)", "return x"))
    del sys.modules["changing"]  # as in another process
    with pytest.warns(CodeChanged):
        assert tl.resume(run_id, runs=folder) == "aNEWER"


def test_an_unknown_run_is_said(folder: str) -> None:
    with pytest.raises(tl.errors.RunNotFound, match="no run 'xyz'"):
        tl.resume("xyz", runs=folder)


@dataclass
class Disk:
    is_full: bool = False


def test_no_effect_happens_that_cannot_be_written_down(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.run_store.database import RunDatabase

    put: Callable[..., None] = RunDatabase.put
    disk = Disk()

    def full(self: RunDatabase, rows: Any) -> None:
        if disk.is_full:
            from runtime.errors import RunStoreFailed

            raise RunStoreFailed("the disk is full")
        put(self, rows)

    @tl.tool
    def fill(text: str) -> str:
        disk.is_full = True
        return text

    @tl.app
    async def two() -> str:
        await tl.value(fill("a"))
        return await tl.value(send("b"))

    monkeypatch.setattr(RunDatabase, "put", full)
    with pytest.raises(tl.errors.RunStoreFailed, match="disk is full"):
        two.using(runs=folder)()
    assert made == []
    disk.is_full = False
    run_id = tl.runs(folder)[0].id
    assert tl.resume(run_id, runs=folder, app=two, in_doubt="retry") == "sent b"


def test_two_models_that_are_asked_the_same_keep_their_own_answers(folder: str) -> None:
    small, large = tl.LLM("fake:small"), tl.LLM("fake:large")

    @tl.prompt(small)
    def quick(topic: str) -> str:
        return f"What is {topic}?"

    @tl.prompt(large)
    def deep(topic: str) -> str:
        return f"What is {topic}?"

    @tl.app
    def both(topic: str) -> list[str]:
        first, second = quick(topic), deep(topic)
        return [first, second, send(first)]

    broken.add("small")
    with tl.fake(small, ["small"]), tl.fake(large, ["large"]):
        run_id = failed_id(both, folder, "tea")
        broken.clear()
        assert tl.resume(run_id, runs=folder, app=both) == ["small", "large", "sent small"]


def marking(mark: Any) -> Any:
    @tl.tool(pure=True)
    def marked(text: str) -> str:
        made.append(f"pure {text}")
        return f"{text}{mark[0]}"

    return marked


@pytest.mark.parametrize("hold", [str, lambda mark: type("Odd", (list,), {})([mark])])
def test_pure_tools_of_one_factory_keep_their_own_values(folder: str, hold: Any) -> None:
    first, second = marking(hold("!")), marking(hold("?"))

    @tl.app
    async def both(text: str) -> list[str]:
        texts = [await tl.value(first(text)), await tl.value(second(text))]
        return [*texts, await tl.value(send(texts[0]))]

    broken.add("a!")
    run_id = failed_id(both, folder, "a")
    broken.clear()
    before = len(made)
    assert tl.resume(run_id, runs=folder, app=both) == ["a!", "a?", "sent a!"]
    assert made[before:] == ["a!"], "neither is run again"


def test_a_prompt_is_known_again_wherever_the_program_has_it(folder: str) -> None:
    model, lines = tl.LLM("fake:"), ["first"]

    @tl.prompt(model)
    def ask(topic: str) -> str:
        return f"What is {topic}?"

    @tl.app
    async def inner(topic: str) -> str:
        return await tl.value(send(await tl.value(ask(topic))))

    @tl.app
    async def outer(topic: str) -> str:
        for line in lines[1:]:  # the program was changed
            await tl.value(loud(line))
        return await tl.value(inner(topic))

    broken.add("one")
    with tl.fake(model, ["one"]):
        run_id = failed_id(outer, folder, "tea")
    broken.clear()
    lines.append("more")
    with tl.fake(model, ["two"]):
        assert tl.resume(run_id, runs=folder, app=outer) == "sent one"


@tl.prompt(llm)
def ask(topic: str) -> str:
    return f"What is {topic}?"


@tl.app
async def inner(topic: str) -> str:
    return await tl.value(ask(topic))


@tl.app
async def compare(topic: str) -> list[str]:
    apps = [inner.using(engines={"llm": url}) for url in ("fake:small", "fake:large")]
    return [*[await tl.value(app(topic)) for app in apps], await tl.value(send("both"))]


def test_an_app_that_runs_on_two_models_keeps_the_answers_of_each(folder: str) -> None:
    broken.add("both")
    small, large = tl.LLM("fake:small"), tl.LLM("fake:large")
    with tl.fake(small, ["small"]), tl.fake(large, ["large"]):
        run_id = failed_id(compare, folder, "tea")
        broken.clear()
        assert tl.resume(run_id, runs=folder) == ["small", "large", "sent both"]
