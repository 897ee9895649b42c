"""What a server takes from one client: bytes, items and time, before it works on them."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.requests import Request

from backends.fake.llm import FakeLLM
from teola.serving import bodies, embeddings_api
from teola.serving.api_errors import ApiError
from teola.serving.app import make_app
from teola.serving.bodies import Bodies, Budget
from teola.serving.body_items import ItemCounter
from teola.serving.chat_api import ChatFields
from teola.serving.completions_api import CompletionFields
from teola.serving.embeddings_api import EmbeddingFields
from teola.serving.fields import Fields, parse
from teola.serving.give_back import give_back
from teola.serving.limits import Limits
from teola.serving.rerank_api import RerankFields
from teola.serving.served_engines import ServedEngines
from teola.serving.tokenizing import TokenizerThreads

CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "hello"}]


def ask(limits: Limits, path: str, content: Any) -> httpx.Response:
    """One request to a server of these limits."""

    async def main() -> httpx.Response:
        engines = ServedEngines([("fake:", FakeLLM("fake:", {}))], max_queued=8)
        await engines.start()
        transport = httpx.ASGITransport(make_app(engines, limits=limits))
        async with httpx.AsyncClient(transport=transport, base_url="http://s") as client:
            return await client.post(path, content=content)

    return asyncio.run(main())


def chat_of(text: str) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode()


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


TOO_LARGE = (413, "request_too_large")


def test_a_body_beyond_its_limit_is_413() -> None:
    limits = Limits(max_body_bytes=1000)
    assert ask(limits, CHAT, chat_of("a" * 900)).status_code == 200
    refused = ask(limits, CHAT, chat_of("a" * 1000))
    assert error_of(refused) == TOO_LARGE
    assert "--max-body-mb" in refused.json()["error"]["message"]


def test_a_body_that_does_not_say_its_length_is_cut_at_the_limit() -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 500

    assert error_of(ask(Limits(max_body_bytes=1000), CHAT, endless())) == TOO_LARGE


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": list(range(200))},
        {"prompt": ["a"] * 200},
        {"prompt": [[1]] * 20},
        {"messages": HELLO * 20},
        {"prompt": "a", "metadata": {str(i): i for i in range(200)}},
    ],
)
def test_long_lists_are_413_before_they_are_parsed(
    body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teola.serving.fields.from_json", lambda body: pytest.fail("was parsed"))
    refused = ask(Limits(max_body_items=100), COMPLETE, json.dumps(body).encode())
    assert error_of(refused) == TOO_LARGE
    assert "--max-body-items" in refused.json()["error"]["message"]


def test_what_a_text_holds_is_no_item() -> None:
    limits = Limits(max_body_items=30)
    assert ask(limits, CHAT, chat_of('[{,"\\' * 100)).status_code == 200


TEXTS = st.text(st.sampled_from('a,[{"\\é\n'), max_size=8)
VALUES = st.recursive(
    st.one_of(st.integers(), TEXTS, st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=20,
)


def num_items(value: object) -> int:
    """What a counter finds: a list and an object count as eight."""
    inner: list[object] = []
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    else:
        return 0
    return 8 + max(0, len(inner) - 1) + sum(map(num_items, inner))


@given(VALUES, st.lists(st.integers(0, 60), max_size=4))
def test_items_are_counted_however_a_body_is_cut(value: object, cuts: list[int]) -> None:
    body = json.dumps(value, ensure_ascii=False).encode()
    counter = ItemCounter()
    ends = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in pairwise(ends):
        counter.feed(body[start:end])
    assert counter.num_items == num_items(value)


def test_a_body_that_comes_too_slowly_is_408() -> None:
    async def slow() -> Any:
        yield b"{"
        await asyncio.sleep(60)

    refused = ask(Limits(body_timeout_s=0.1), CHAT, slow())
    assert error_of(refused) == (408, "request_timeout")


def test_a_long_body_is_read_off_the_loop_on_one_thread() -> None:
    async def main() -> list[str]:
        found = Bodies(Limits())

        def parse_slowly(_: bytes) -> str:
            time.sleep(0.05)
            return threading.current_thread().name

        return await asyncio.gather(
            *(found.read(request_of(b" " * 20_000), parse_slowly) for _ in range(3))
        )

    names = asyncio.run(main())
    assert set(names) == {"read body_0"}


def request_of(body: bytes) -> Request:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "headers": []}, receive)


def test_bodies_together_take_no_more_than_the_budget() -> None:
    async def main() -> list[int]:
        budget, held, seen = Budget(100), 0, []

        async def hold(num_bytes: int) -> None:
            nonlocal held
            async with budget.taken(num_bytes):
                held += num_bytes
                seen.append(held)
                try:
                    await asyncio.sleep(0.001)
                finally:
                    held -= num_bytes

        gone = asyncio.create_task(hold(90))
        rest = [asyncio.create_task(hold(size)) for size in (60, 50, 70, 10, 100, 1) * 5]
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(*rest)
        return seen

    seen = asyncio.run(main())
    assert max(seen) <= 100
    assert len(seen) >= 30


def test_a_body_that_finds_no_room_in_time_is_429() -> None:
    async def main() -> None:
        budget = Budget(100, wait_s=0.01)
        async with budget.taken(60):
            with pytest.raises(ApiError, match="try again") as refused:
                async with budget.taken(50):
                    pass
            assert refused.value.status == 429
        async with budget.taken(100):  # nothing was lost
            pass

    asyncio.run(main())


def lists_of(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "list":
            yield schema
        for part in schema.values():
            yield from lists_of(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from lists_of(part)


@pytest.mark.parametrize("model", [ChatFields, CompletionFields, EmbeddingFields, RerankFields])
def test_a_list_stops_at_its_first_error(model: type[BaseModel]) -> None:
    found = list(lists_of(model.__pydantic_core_schema__))
    assert found
    assert all(schema["fail_fast"] for schema in found)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (CompletionFields, {"prompt": [-1] * 100_000}),
        (ChatFields, {"messages": [{"role": "x"}] * 16_000}),
        (EmbeddingFields, {"input": [[]] * 100_000}),
    ],
)
def test_many_errors_cost_no_more_than_one(model: type[Fields], body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    began_s = time.thread_time()
    with pytest.raises(ApiError):
        parse(model, content)
    assert time.thread_time() - began_s < 0.5


def test_parts_of_a_long_chat_are_made_where_it_is_read() -> None:
    fields = parse(ChatFields, json.dumps({"messages": HELLO * 100}).encode())
    assert "parts" in vars(fields)


class _Tokenizer:
    """Tells on which thread it worked, and for how long it should."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()

    def encode(self, parts: Any, attrs: Any, *, is_start: bool) -> list[int]:
        if len(parts[0]) > 100_000:
            self.may_go_on.wait(60)
        return [len(parts[0])]

    def decode(self, ids: Any) -> str:
        return threading.current_thread().name


def test_tokenizing_has_threads_of_its_own_and_long_texts_delay_no_short_one() -> None:
    async def main() -> None:
        threads, tokenizer = TokenizerThreads(), _Tokenizer()
        others = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(others)
        others.submit(tokenizer.may_go_on.wait, 60)  # asyncio's own pool is busy
        long = [asyncio.create_task(threads.encode(tokenizer, ["a" * 200_000])) for _ in range(5)]
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            assert await threads.encode(tokenizer, ["a" * 5000]) == [5000]
            assert await threads.decode(tokenizer, range(5000)) == "tokenize short_0"
        assert not any(task.done() for task in long)
        tokenizer.may_go_on.set()
        assert await asyncio.gather(*long) == [[200_000]] * 5
        threads.close()

    asyncio.run(main())


def test_clients_that_want_token_ids_alone_are_bounded(
    talk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = _Tokenizer()
    server = talk()
    monkeypatch.setattr(server.llm, "encode", tokenizer.encode, raising=False)
    monkeypatch.setattr(server.llm, "decode", tokenizer.decode, raising=False)
    monkeypatch.setattr(server.llm, "tokenizer_info", dict, raising=False)
    server.engines.served[0].tokenizing.admission.limit = 2

    async def main() -> list[int]:
        async with server._client() as client:
            body = {"prompt": "a" * 200_000}
            asking = [asyncio.create_task(client.post("/tokenize", json=body)) for _ in range(4)]
            while sum(task.done() for task in asking) < 2:  # which are refused
                await asyncio.sleep(0.001)
            tokenizer.may_go_on.set()
            return [answer.status_code for answer in await asyncio.gather(*asking)]

    assert sorted(asyncio.run(main())) == [200, 200, 429, 429]


def test_a_client_that_goes_away_while_its_body_comes_is_a_499(
    talk: Callable[..., Any],
) -> None:
    """Not a 500, and no traceback."""
    server = talk()
    sent: list[Any] = []
    messages = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": CHAT,
        "query_string": b"",
        "headers": [(b"content-length", b"1000")],
    }
    asyncio.run(server.app(scope, receive, send))
    assert sent[0]["status"] == 499
    assert 'requests_total{path="/v1/chat/completions",status="499"} 1.0' in (
        server.get("/metrics").text
    )


def test_the_bounds_leave_room_for_a_long_context_as_token_ids() -> None:
    assert Limits().max_body_items > 131_072
    assert Limits().max_body_bytes > bodies._LIGHT_BYTES


@pytest.mark.parametrize(
    ("prompt", "param"),
    [([1, -1], "prompt.1"), ([[1], [2, -1]], "prompt.1.1"), (["a", 5], "prompt.1")],
)
def test_a_bad_token_id_is_named_by_its_place_and_not_by_pydantics_forms(
    prompt: Any, param: str
) -> None:
    with pytest.raises(ApiError) as refused:
        parse(CompletionFields, json.dumps({"prompt": prompt}).encode())
    assert refused.value.param == param


def test_large_embeddings_are_written_off_the_loop(
    talk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    written = embeddings_api._body

    def noted(*given: Any) -> bytes:
        names.append(threading.current_thread().name)
        return written(*given)

    monkeypatch.setattr(embeddings_api, "_body", noted)
    server = talk()
    few = server.post("/v1/embeddings", {"input": ["a", "b"]}).json()["data"]
    many = server.post("/v1/embeddings", {"input": ["a", "b"] * 2000}).json()["data"]
    assert [entry["embedding"] for entry in many] == [
        few[0]["embedding"],
        few[1]["embedding"],
    ] * 2000
    assert names == ["MainThread", "read body_0"]


def test_memory_of_a_long_body_is_given_back_after_it_was_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = threading.Semaphore(0)
    monkeypatch.setattr(bodies, "give_back", given.release)
    monkeypatch.setattr(bodies, "_GIVE_BACK_S", 0.05)

    async def main() -> None:
        engines = ServedEngines([("fake:", FakeLLM("fake:", {}))], max_queued=8)
        await engines.start()
        transport = httpx.ASGITransport(make_app(engines, limits=Limits()))
        async with httpx.AsyncClient(transport=transport, base_url="http://s") as client:
            await client.post(CHAT, content=chat_of("short"))
            await asyncio.sleep(0.1)
            assert not given.acquire(blocking=False)
            for _ in range(2):
                await client.post(CHAT, content=chat_of("a" * 2_000_000))
            assert await asyncio.to_thread(given.acquire, timeout=20)

    asyncio.run(main())


def test_giving_memory_back_works_or_does_nothing() -> None:
    give_back()
