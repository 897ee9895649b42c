"""Remote engines in whole apps: what a caller sees when a server fails."""

import asyncio
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from fault_server import (
    HANG,
    RESET,
    Answer,
    FaultServer,
    Seen,
    as_json,
    events,
    failing,
    nothing_left,
    overloaded,
)

import teola as tl
from backends.errors import (
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)
from teola.errors import ConfigError, NodeFailed, QueryError, QueryTimeout
from teola.runner import default_runner


@pytest.fixture(autouse=True)
def engines_closed() -> Iterator[None]:
    yield
    default_runner().close()


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """In its own loop; what the app's engines opened is closed before anything is counted."""

    async def bounded() -> Any:
        async with asyncio.timeout(60), nothing_left():
            try:
                return await main
            finally:
                await asyncio.to_thread(default_runner().close)

    return asyncio.run(bounded())


def piece(text: str, finish: str | None = None) -> dict[str, Any]:
    delta = {"role": "assistant", "content": text}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def chatting(reply: Answer, *, at: str = "fail") -> Any:
    """A server that chats, but for prompts with the word `at`."""

    def answer(seen: Seen) -> Answer:
        if seen.path == "/v1/models":
            return as_json({"data": [{"id": "m"}]})
        if at in seen.content.decode():
            return reply
        if seen.body.get("stream"):
            return events(piece("fi"), piece("ne", "stop"))
        message = {"role": "assistant", "content": "fine"}
        return as_json({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    return answer


def greeter(server: FaultServer, scheme: str = "openai", **options: Any) -> Any:
    model = tl.LLM(server.url(scheme), retries=0, **options)

    @tl.prompt(model)
    def greet(name: str) -> str:
        return f"Say hello to {name}."

    @tl.app
    def hello(name: str) -> str:
        return greet(name)

    return hello


async def caught(running: Any) -> Any:
    try:
        return await running
    except QueryError as error:
        return error


CUT = events(piece("fi"), end=(RESET,))
EARLY = events(piece("fi"), end=("close",))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Answer((RESET,)), EngineUnavailable),
        (CUT, EngineUnavailable),
        (EARLY, EngineError),
        (events(piece("fi"), end=(HANG,)), EngineUnavailable),
        (overloaded("86400"), EngineOverloaded),
        (failing(500), EngineError),
        (failing(400, "temperature is wrong"), RequestRejected),
        (failing(400, "maximum context length is 8 tokens"), RequestTooLong),
        (failing(401, "wrong key"), EngineUnavailable),
        (as_json({"choices": "none"}), EngineError),
    ],
)
@pytest.mark.parametrize("scheme", ["openai", "vllm"])
def test_a_failing_server_fails_the_node_with_a_typed_cause_and_no_other_query(
    scheme: str, reply: Answer, kind: type[EngineError]
) -> None:
    async def main() -> None:
        async with FaultServer(chatting(reply)) as server:
            read_timeout_s = 1.0 if HANG in reply.steps else 30.0
            hello = greeter(server, scheme, read_timeout_s=read_timeout_s, timeout_s=30)
            names = ["Ada", "fail", "Bob", "Cy"]
            found = await asyncio.gather(*(caught(hello.arun(name)) for name in names))
            good = [found[0], *found[2:]]
            assert good == ["fine"] * 3
            error = found[1]
            assert isinstance(error, NodeFailed), error
            assert isinstance(error.cause, kind)
            assert server.address in str(error)

    run(main())


def test_what_an_overloaded_server_refuses_is_sent_when_it_says() -> None:
    async def main() -> None:
        replies = [overloaded("0.05"), overloaded("0.05", 503)]

        def answer(seen: Seen) -> Answer:
            return replies.pop() if replies and seen.method == "POST" else fine(seen)

        fine = chatting(failing(500))
        async with FaultServer(answer) as server:
            hello = greeter(server)
            assert await asyncio.gather(*(hello.arun(name) for name in "abc")) == ["fine"] * 3

    run(main())


def test_a_server_that_comes_back_serves_the_next_query() -> None:
    async def main() -> None:
        async with FaultServer(chatting(failing(500))) as server:
            hello = greeter(server)
            assert await hello.arun("Ada") == "fine"
            await server.stop()
            error = await caught(hello.arun("Bob"))
            assert isinstance(error.cause, EngineUnavailable)
            await server.start()
            assert await hello.arun("Cy") == "fine"

    run(main())


def test_a_query_that_is_cancelled_closes_its_connection() -> None:
    async def main() -> None:
        async with FaultServer(chatting(Answer((HANG,)))) as server:
            hello = greeter(server)
            running = asyncio.create_task(hello.arun("fail"))
            while not any(seen.method == "POST" for seen in server.seen):
                await asyncio.sleep(0.005)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            open_before = server.num_open
            while server.num_open >= open_before > 0 and server.num_open > 1:
                await asyncio.sleep(0.005)

    run(main())


def test_a_querys_own_timeout_ends_a_hung_call() -> None:
    async def main() -> None:
        async with FaultServer(chatting(Answer((HANG,)))) as server:
            hello = greeter(server)
            assert await hello.arun("Ada") == "fine"
            with pytest.raises(QueryTimeout):
                await hello.using(timeout_s=0.2).arun("fail")

    run(main())


def vectors(seen: Seen) -> Answer:
    if any("poison" in text for text in seen.body["input"]):
        return failing(422, "poison is refused")
    rows = [[float(len(text)), 1.0] for text in seen.body["input"]]
    return as_json({"data": [{"index": i, "embedding": row} for i, row in enumerate(rows)]})


def scores(seen: Seen) -> Answer:
    found = [{"index": i, "relevance_score": len(t)} for i, t in enumerate(seen.body["documents"])]
    return as_json({"results": found})


def test_a_search_over_remote_vectors_and_scores() -> None:
    async def main() -> None:
        async with FaultServer(vectors) as embedding, FaultServer(scores) as ranking:
            store = tl.Store("fake:", embedder=tl.Embedder(embedding.url()))
            reranker = tl.Reranker(ranking.url())

            @tl.app
            def find(question: str) -> list[tl.Doc]:
                index = store.index([tl.Doc("a"), tl.Doc("longest"), tl.Doc("long")])
                return reranker(question, index.search(question, k=3), k=2)

            found = await asyncio.gather(*(caught(find.arun(q)) for q in ("q", "poison", "other")))

            for docs in (found[0], found[2]):
                assert [(doc.text, doc.score) for doc in docs] == [("longest", 7.0), ("long", 4.0)]
            assert isinstance(found[1], NodeFailed)
            assert isinstance(found[1].cause, RequestRejected)
            assert "poison is refused" in str(found[1])

    run(main())


@pytest.mark.parametrize("component", [tl.LLM, tl.Embedder, tl.Reranker])
def test_a_wrong_url_is_refused_where_it_is_written(component: Any) -> None:
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        component("openai://sk-secret@api.openai.com/m")
    assert "sk-secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="no host:port"):
        component("vllm://localhost:eight/m")
    component("vllm+https://gpu.example.com/m")
    component("openai:gpt-5-mini")


PROGRAM = """
import sys
import teola as tl
embedder = tl.Embedder(sys.argv[1])
store = tl.Store("fake:", embedder=embedder)
@tl.app
def find(question: str) -> list[tl.Doc]:
    return store.index([tl.Doc("a"), tl.Doc("bb")]).search(question, k=1)
print(find("bb")[0].text)
"""


def test_a_program_ends_without_open_connections() -> None:
    """The interpreter itself tells of sockets that nobody closed."""

    async def main() -> tuple[str, str]:
        async with FaultServer(vectors) as server:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-W", "always::ResourceWarning", "-c", PROGRAM, server.url()),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            async with asyncio.timeout(60):
                out, err = await process.communicate()
            return out.decode(), err.decode()

    out, err = asyncio.run(main())
    assert (out, err) == ("bb\n", "")
