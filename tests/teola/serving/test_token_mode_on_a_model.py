"""teola:// in token mode against a server of its own process, with the default model in float32:
the tokens of the embedded engine."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import teola as tl
from backends.base import Chunk, Request, Result, Turn
from backends.errors import EngineError, RequestRejected
from backends.registry import EngineSpec, create
from samples import advanced_rag, doc_qa

pytestmark = [pytest.mark.server, pytest.mark.model]

DATA = Path(__file__).parents[3] / "samples/data/sqlite"
ADAPTER = Path(__file__).parents[2] / "data/adapters/smollm2_toolcall_lora"
MODEL = "smollm2-135m"
OPTIONS = {"dtype": "float32", "kv_tokens": 8192, "threads": 2}
CHAT = (Turn("user"), "Name three fruits, with a colour each.", Turn("assistant"))
LONG = "SQLite is a library that holds a whole database in one file. " * 30


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Iterator[Any]:
    words = [word for item in OPTIONS.items() for word in ("--option", "{}={}".format(*item))]
    with serve(f"local:{MODEL}", *words, "--lora", f"calls={ADAPTER}") as made:
        yield made


def remote_url(server: Any) -> str:
    return f"{server.url.replace('http://', 'teola://')}/{MODEL}"


@asynccontextmanager
async def engines(server: Any) -> AsyncIterator[tuple[Any, Any]]:
    """The embedded one and the remote one, started."""
    options = {**OPTIONS, "adapters": {"calls": str(ADAPTER)}}
    local = create(EngineSpec("llm", f"local:{MODEL}", options))
    remote = create(EngineSpec("llm", remote_url(server), {}))
    try:
        await asyncio.gather(local.start(), remote.start())
        yield local, remote
    finally:
        await asyncio.gather(local.close(), remote.close())


def with_both(server: Any, work: Callable[[Any, Any], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(180), engines(server) as (local, remote):
            await work(local, remote)

    asyncio.run(main())


async def ask(engine: Any, op: str, *inputs: Any, **attrs: Any) -> Result:
    (outcome,) = await engine.execute([Request(uuid4().hex, op, inputs, attrs)])
    assert isinstance(outcome, Result), outcome
    return outcome


async def everything(engine: Any) -> list[Any]:
    """Texts and tokens of all kinds of requests."""
    found: list[Any] = []
    context = (await ask(engine, "prefill", None, Turn("system"), "Be brief.")).outputs[0]
    for question in ("What is the capital of France?", "Count from one to five."):  # forks
        turn = (Turn("user"), question, Turn("assistant"))
        first = await ask(engine, "decode", context, *turn, max_tokens=20)
        turn = (Turn("user"), "Say it again.", Turn("assistant"))
        again = await ask(engine, "decode", first.outputs[1], *turn, max_tokens=20, stop=[".", "!"])
        found += [first.outputs[0], again.outputs[0], list(again.outputs[1].ids), again.samples]
    for form in (
        {"regex": "(red|green|blue) [a-z]{3,8}"},
        {"choices": ["an apple", "a pear"]},
        {"schema": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}}},
    ):
        shaped = await ask(engine, "decode", None, *CHAT, max_tokens=24, **form)
        found += [shaped.outputs[0], list(shaped.outputs[1].ids)]
    attrs = {"max_tokens": 12, "temperature": 0.8, "seed": 3, "n": 3}
    sampled = await ask(engine, "decode", None, *CHAT, **attrs)
    found += [sampled.outputs[0], [list(context.ids) for context in sampled.outputs[1]]]
    prompt = (await ask(engine, "prefill", None, *CHAT)).outputs[0]
    chosen = await ask(engine, "select", prompt, ["Apple", "A banana", "zebra crossing"])
    found += [chosen.outputs[0], list(chosen.outputs[2].ids)]
    return found


def test_the_server_gives_the_tokens_of_the_embedded_engine(server: Any) -> None:
    async def work(local: Any, remote: Any) -> None:
        assert await everything(remote) == await everything(local)

    with_both(server, work)


@pytest.mark.parametrize("plan", ["reuse", "lego(16)", "query(0.15)", "blend(0.15)+first(4)"])
def test_a_fused_prompt_has_the_tokens_of_the_embedded_engine(server: Any, plan: str) -> None:
    """Bit by bit the same plan: what is looked at and what is chosen."""
    passages = [Chunk(f"[{text}] " * 12) for text in ("Bees make honey", "Cows give milk", "Rome")]

    async def work(local: Any, remote: Any) -> None:
        for chunks in (passages, passages[::-1]):
            parts = (Turn("user"), "Read this. ", *chunks, "Who makes honey?", Turn("assistant"))
            found = []
            for engine in (local, remote):
                context = (await ask(engine, "prefill", None, *parts, fusion=plan)).outputs[0]
                result = await ask(engine, "decode", context, max_tokens=16)
                found.append((result.outputs[0], list(result.outputs[1].ids)))
                last = result
            assert found[0] == found[1]
            assert last.fusion is not None
            assert (last.fusion.plan, len(last.fusion.rows)) == (plan, 30)

    with_both(server, work)


def test_an_adapter_is_named_as_in_the_process_and_stays_with_its_context(server: Any) -> None:
    async def work(local: Any, remote: Any) -> None:
        found = []
        for engine in (local, remote):
            context = (await ask(engine, "prefill", None, *CHAT, adapter="calls")).outputs[0]
            with_it = await ask(engine, "decode", context, max_tokens=16)
            without = await ask(engine, "decode", None, *CHAT, max_tokens=16)
            assert with_it.outputs[0] != without.outputs[0]
            found.append((with_it.outputs[0], list(with_it.outputs[1].ids)))
        assert found[0] == found[1]
        request = Request(uuid4().hex, "decode", (None, *CHAT), {"adapter": "sql"})
        (unknown,) = await remote.execute([request])
        assert isinstance(unknown, RequestRejected)
        assert "'sql'" in str(unknown)

    with_both(server, work)


def test_what_ran_ahead_is_found_by_all_forks(server: Any) -> None:
    async def work(_: Any, remote: Any) -> None:
        ahead = await ask(remote, "prefill", None, LONG, ahead=True, cache_salt=uuid4().hex)
        num_prompt = ahead.outputs[0].num_tokens
        assert ahead.usage.prefill_tokens == num_prompt
        forks = await asyncio.gather(
            *(ask(remote, "decode", ahead.outputs[0], end, max_tokens=2) for end in "abc")
        )
        assert all(num_prompt - 16 <= fork.usage.cached_tokens <= num_prompt for fork in forks)

    with_both(server, work)


def test_an_abort_ends_the_work_at_the_server(server: Any) -> None:
    async def work(_: Any, remote: Any) -> None:
        shown = asyncio.Event()
        attrs = {"max_tokens": 4000, "ignore_eos": True}
        request = Request(uuid4().hex, "decode", (None, *CHAT), attrs, emit=lambda _: shown.set())
        running = asyncio.create_task(remote.execute([request]))
        await shown.wait()
        assert (await remote.load()).num_running == 1
        remote.abort(request.id)
        (outcome,) = await running
        assert isinstance(outcome, EngineError)
        async with asyncio.timeout(60):
            while (await remote.load()).num_running:
                await asyncio.sleep(0.02)

    with_both(server, work)


def make_app(url: str, **options: Any) -> Any:
    """Asks, answers in parallel, joins, and shapes an answer: what apps do with an LLM."""
    llm = tl.LLM(url, **options)

    @tl.prompt(llm, max_tokens=16, system="Answer in one sentence.", stop="\n")
    def answer(question: str) -> str:
        return f"Question: {question}"

    @tl.prompt(llm, max_tokens=24, system="Join the answers.")
    def join(answers: list[str]) -> str:
        return tl.join(answers, "- {text}")

    @tl.app
    def app(questions: list[str]) -> str:
        return join(tl.map(answer, questions))

    return app


def test_an_app_on_the_server_answers_as_in_the_process(server: Any) -> None:
    questions = ["What is SQLite?", "Who wrote Hamlet?", "What is the capital of France?"]
    local = make_app(f"local:{MODEL}", **OPTIONS)
    remote = make_app(remote_url(server))
    expected = local(questions)
    assert expected
    assert remote(questions) == expected
    assert remote.using(optimize=False)(questions) == expected


@pytest.mark.parametrize("sample", [doc_qa.ask, advanced_rag.rag], ids=lambda app: app.name)
def test_a_sample_on_the_server_answers_as_in_the_process(
    serve: Callable[..., Any], sample: Any
) -> None:
    question = "Until which year do the developers intend to support SQLite?"
    files = [str(DATA / "lts.md")]
    expected = sample(question, files)
    with serve(f"local:{MODEL}") as made:
        remote = sample.using(engines={"llm": remote_url(made)})
        assert remote(question, files) == expected
