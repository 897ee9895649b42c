"""Embedders that are servers: requests in each server's shape, answers checked, faults apart."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
from fault_server import (
    Answer,
    FaultServer,
    Reply,
    Seen,
    as_json,
    broken,
    failing,
    hung,
    nothing_left,
    overloaded,
    put_forward,
)

from backends.base import Engine, Outcome, Request, Result, Usage
from backends.documents import Doc
from backends.errors import (
    ConfigError,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
)
from backends.rate_limits import Allowance, RateLimits, RateReport
from backends.registry import EngineSpec, create
from backends.remote.call_engine import FAILURES_IN_A_ROW
from backends.remote.embedder import MAX_CHARS

NAMES = count()


def request(value: Any, op: str = "embed", **attrs: Any) -> Request:
    return Request(f"{next(NAMES):032x}", op, (value,), attrs)


def vector(text: str) -> list[float]:
    """Not of unit length: server's need not be."""
    return [float(len(text)), 3.0, 4.0]


def in_openais_shape(seen: Seen) -> Answer:
    data = [{"index": i, "embedding": vector(t)} for i, t in enumerate(seen.body["input"])]
    return as_json({"object": "list", "data": data[::-1], "usage": {"prompt_tokens": 9}})


def in_base64(seen: Seen) -> Answer:
    rows = [np.array(vector(text), "<f4").tobytes() for text in seen.body["input"]]
    data = [{"index": i, "embedding": base64.b64encode(r).decode()} for i, r in enumerate(rows)]
    return as_json({"data": data})


def in_ollamas_shape(seen: Seen) -> Answer:
    return as_json({"model": "m", "embeddings": [vector(text) for text in seen.body["input"]]})


def rejecting(word: str, status: int = 400) -> Callable[[Seen], Answer]:
    """Fails every call that holds the word."""

    def answer(seen: Seen) -> Answer:
        is_bad = any(word in text for text in seen.body["input"])
        return failing(status, f"{word} is refused") if is_bad else in_openais_shape(seen)

    return answer


def cards(*names: str, **more: str) -> Answer:
    return as_json({"object": "list", "data": [{"id": name, **more} for name in names]})


def with_models(reply: Reply, *names: str) -> Callable[[Seen], Answer]:
    def answer(seen: Seen) -> Answer:
        if seen.path == "/v1/models":
            return cards(*names)
        return reply if isinstance(reply, Answer) else reply(seen)

    return answer


def at(
    server: FaultServer,
    work: Callable[[Engine], Awaitable[Any]],
    scheme: str = "openai",
    model: str = "m",
    **options: Any,
) -> Any:
    """What `work` finds at a started engine of the server."""

    async def main() -> Any:
        async with asyncio.timeout(60), nothing_left(), server:
            engine = create(EngineSpec("embedder", server.url(scheme, model), options))
            await engine.start()
            try:
                return await work(engine)
            finally:
                await engine.close()

    return asyncio.run(main())


def outcomes_of(
    server: FaultServer, *values: Any, scheme: str = "openai", **options: Any
) -> list[Outcome]:
    requests = [value if isinstance(value, Request) else request(value) for value in values]
    found: list[Outcome] = at(server, lambda engine: engine.execute(requests), scheme, **options)
    return found


def output(outcome: Outcome) -> Any:
    assert isinstance(outcome, Result), outcome
    return outcome.outputs[0]


def unit(texts: Sequence[str]) -> Any:
    rows = np.array([vector(text) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("scheme", "reply", "path", "body"),
    [
        ("openai", in_openais_shape, "/v1/embeddings", {"encoding_format": "base64"}),
        ("openai", in_base64, "/v1/embeddings", {"encoding_format": "base64"}),
        ("vllm", in_base64, "/v1/embeddings", {"encoding_format": "base64"}),
        ("teola", in_base64, "/v1/embeddings", {"encoding_format": "base64"}),
        ("sglang", in_openais_shape, "/v1/embeddings", {}),
        ("ollama", in_ollamas_shape, "/api/embed", {}),
    ],
)
def test_every_server_is_asked_in_its_shape(
    scheme: str, reply: Callable[[Seen], Answer], path: str, body: dict[str, str]
) -> None:
    server = FaultServer(with_models(reply, "m"))
    one, many = outcomes_of(server, "four", ["a", Doc("seven b")], scheme=scheme)

    seen = server.seen[-1]
    assert (seen.method, seen.path) == ("POST", path)
    assert seen.body == {"model": "m", "input": ["four", "a", "seven b"], **body}
    assert output(one).shape == (3,)
    assert output(many).dtype == np.float32
    np.testing.assert_allclose(output(one), unit(["four"])[0], rtol=1e-6)
    np.testing.assert_allclose(output(many), unit(["a", "seven b"]), rtol=1e-6)
    assert isinstance(many, Result)
    assert many.usage == Usage(num_items=2)


def test_long_lists_are_cut_and_requests_share_calls() -> None:
    server = FaultServer(in_openais_shape)
    texts = [str(n) * (n + 1) for n in range(7)]

    outcomes = outcomes_of(server, "x", "y", texts, "z", batch_size=3)

    sizes = sorted(len(seen.body["input"]) for seen in server.seen)
    assert sizes == [1, 1, 2, 3, 3]  # "x" and "y"; the seven; "z"
    np.testing.assert_allclose(output(outcomes[2]), unit(texts), rtol=1e-6)
    np.testing.assert_allclose(output(outcomes[3]), unit(["z"])[0], rtol=1e-6)


def test_long_texts_are_cut_over_several_calls() -> None:
    server = FaultServer(in_openais_shape)
    texts = ["a" * (MAX_CHARS // 2), "b" * (MAX_CHARS // 2), "c", "d" * (MAX_CHARS + 1), "e"]

    (outcome,) = outcomes_of(server, texts)

    lengths = sorted([len(text) for text in seen.body["input"]] for seen in server.seen)
    half = MAX_CHARS // 2
    assert lengths == [[1], [1], [half, half], [MAX_CHARS + 1]]
    np.testing.assert_allclose(output(outcome), unit(texts), rtol=1e-5)


def test_a_bad_request_harms_no_other() -> None:
    outcomes = outcomes_of(FaultServer(rejecting("bad")), "good", 7, ["a bad one", "x"], "fine")

    assert output(outcomes[0]).shape == (3,)
    assert isinstance(outcomes[1], RequestRejected)
    assert isinstance(outcomes[2], RequestRejected)
    assert "bad is refused" in str(outcomes[2])
    assert output(outcomes[3]).shape == (3,)


def test_a_request_that_breaks_the_server_harms_no_other() -> None:
    outcomes = outcomes_of(FaultServer(rejecting("bad", 500)), *"ab", "bad", "cd", "bad", *"efgh")

    failed = [type(outcome) is EngineError for outcome in outcomes]
    assert failed == [False, False, True, False, True, False, False, False, False]


def test_a_server_that_fails_for_all_is_asked_few_times() -> None:
    server = FaultServer(failing(500))

    outcomes = outcomes_of(server, *(str(n) for n in range(30)))

    assert [type(outcome) for outcome in outcomes] == [EngineError] * 30
    assert len(server.seen) == 1 + FAILURES_IN_A_ROW


def test_one_failing_piece_of_a_long_list_fails_it_alone() -> None:
    texts = [*"abcde", "bad", *"fghij"]

    outcomes = outcomes_of(FaultServer(rejecting("bad")), texts, "fine", batch_size=2)

    assert isinstance(outcomes[0], RequestRejected)
    assert output(outcomes[1]).shape == (3,)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [(broken, EngineUnavailable), (overloaded("60"), EngineOverloaded)],
)
def test_a_failing_server_is_not_asked_for_each_request_anew(
    reply: Answer, kind: type[EngineError]
) -> None:
    server = FaultServer(reply)

    outcomes = outcomes_of(server, "a", "b", "c", retries=0, timeout_s=5)

    assert [type(outcome).__mro__.index(kind) >= 0 for outcome in outcomes] == [True] * 3
    assert len(server.seen) == 1


def test_the_empty_list_has_as_many_columns_as_vectors_have_numbers() -> None:
    server = FaultServer(in_openais_shape)

    assert output(outcomes_of(server, [])[0]).shape == (0, 3)
    assert len(server.seen) == 1
    assert output(outcomes_of(FaultServer(), [], dimensions=8)[0]).shape == (0, 8)


def test_dimensions_are_asked_for() -> None:
    server = FaultServer(in_openais_shape)

    outcomes_of(server, "x", dimensions=3)

    assert server.seen[0].body["dimensions"] == 3


def test_vectors_of_other_dimensions_than_asked_are_an_error() -> None:
    (outcome,) = outcomes_of(FaultServer(in_openais_shape), "x", dimensions=4)

    assert type(outcome) is EngineError
    assert "vectors of 3 dimensions came; the option dimensions asks for 4" in str(outcome)


def test_a_server_that_changes_its_model_is_found_out() -> None:
    server = FaultServer(in_openais_shape, as_json({"data": [{"index": 0, "embedding": [1, 0]}]}))

    async def work(engine: Engine) -> Outcome:
        await engine.execute([request("x")])
        (outcome,) = await engine.execute([request("x")])
        return outcome

    assert "vectors of 2 dimensions came; all before had 3" in str(at(server, work))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"data": []}, "1 texts were sent, and 0 embeddings came"),
        ({"data": [{"index": 1, "embedding": [1.0]}]}, "0 embeddings came"),
        ({"data": [{"index": 0}]}, "no vectors"),
        ({"data": [{"index": 0, "embedding": []}]}, "no vectors"),
        ({"data": [{"index": 0, "embedding": ["a"]}]}, "no vectors"),
        ({"data": [{"index": 0, "embedding": [[1.0]]}]}, "no vectors"),
        ({"data": [{"index": 0, "embedding": [None]}]}, "no vectors"),
        ({"data": [{"index": 0, "embedding": "not base64"}]}, "no vectors"),
        ({"data": [{"index": 0, "embedding": "YWJj"}]}, "no vectors"),
        ({"data": [{"index": 0, "embedding": [1e308, 1e308]}]}, "no vectors"),
        ({"data": ["x"]}, "0 embeddings came"),
        ({"data": "x"}, "no embeddings"),
        ({"object": "list"}, "no embeddings"),
        ([], "no embeddings"),
        (None, "no embeddings"),
    ],
)
def test_an_answer_without_the_vectors_is_an_error(body: Any, words: str) -> None:
    (outcome,) = outcomes_of(FaultServer(as_json(body)), "x")

    assert type(outcome) is EngineError
    assert words in str(outcome)
    assert "/v1/embeddings" in str(outcome)


def test_a_vector_of_zeros_stays_one() -> None:
    reply = as_json({"data": [{"index": 0, "embedding": [0.0, 0.0]}]})

    np.testing.assert_array_equal(output(outcomes_of(FaultServer(reply), "x")[0]), [0.0, 0.0])


def test_an_abort_ends_the_call_unless_others_wait_for_it() -> None:
    async def work(engine: Engine) -> list[Outcome]:
        alone, first, second = request("x"), request("y"), request("z")
        running = asyncio.create_task(engine.execute([alone]))
        while not server.seen:
            await asyncio.sleep(0.001)
        engine.abort("unknown")
        engine.abort(alone.id)
        ended = await running
        assert isinstance(ended[0], EngineError)
        assert "aborted" in str(ended[0])
        running = asyncio.create_task(engine.execute([first, second]))
        while len(server.seen) < 2:
            await asyncio.sleep(0.001)
        engine.abort(first.id)
        return await running

    slow = Answer((0.05, *in_openais_shape(Seen("", "", {}, b'{"input": ["y", "z"]}')).steps))
    server = FaultServer(hung, slow)
    aborted, whole = at(server, work)
    assert "aborted" in str(aborted)
    assert output(whole).shape == (3,)


def test_closing_answers_what_runs_and_start_begins_anew() -> None:
    server = FaultServer(hung, in_openais_shape)

    async def work(engine: Engine) -> None:
        running = asyncio.create_task(engine.execute([request("x")]))
        while not server.seen:
            await asyncio.sleep(0.001)
        await engine.close()
        (outcome,) = await running
        assert isinstance(outcome, EngineUnavailable)
        assert "was closed" in str(outcome)
        with pytest.raises(EngineUnavailable, match="call start"):
            await engine.execute([request("x")])
        await engine.start()
        assert output((await engine.execute([request("x")]))[0]).shape == (3,)

    at(server, work)


def test_cancelling_the_caller_ends_the_calls() -> None:
    server = FaultServer(hung)

    async def work(engine: Engine) -> None:
        running = asyncio.create_task(engine.execute([request("x"), request(["y"] * 3)]))
        while not server.seen:
            await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        while server.num_open:
            await asyncio.sleep(0.001)

    at(server, work, batch_size=2)


@pytest.mark.parametrize("scheme", ["vllm", "sglang", "teola", "ollama"])
def test_a_model_that_the_server_has_not_is_found_out_at_the_start(scheme: str) -> None:
    server = FaultServer(cards("other", "another"))

    with pytest.raises(EngineUnavailable, match="has no embedder 'm'; it has other, another"):
        outcomes_of(server, "x", scheme=scheme)


def test_without_a_name_the_only_model_is_taken() -> None:
    server = FaultServer(with_models(in_base64, "org/embedder"))

    async def work(engine: Engine) -> Any:
        return await engine.execute([request("x")])

    at(server, work, "vllm", "")
    assert server.seen[-1].body["model"] == "org/embedder"


def test_without_a_name_several_models_are_named() -> None:
    async def work(engine: Engine) -> Any:
        return None

    with pytest.raises(EngineUnavailable, match="several models.*: a, b"):
        at(FaultServer(cards("a", "b")), work, "vllm", "")


def test_models_of_another_kind_are_not_taken() -> None:
    async def work(engine: Engine) -> Any:
        return None

    with pytest.raises(EngineUnavailable, match="lists no embedder"):
        at(FaultServer(cards("a", kind="llm")), work, "teola", "")


@pytest.mark.parametrize("name", ["m", "m:latest"])
def test_ollamas_latest_needs_no_tag(name: str) -> None:
    server = FaultServer(with_models(in_ollamas_shape, name))

    assert output(outcomes_of(server, "x", scheme="ollama")[0]).shape == (3,)


def test_a_server_without_a_list_of_models_is_believed() -> None:
    def answer(seen: Seen) -> Answer:
        return failing(404) if seen.path == "/v1/models" else in_base64(seen)

    assert output(outcomes_of(FaultServer(answer), "x", scheme="vllm")[0]).shape == (3,)


def test_a_server_that_is_down_fails_the_start_and_may_come_later() -> None:
    server = FaultServer(with_models(in_base64, "m"))

    async def main() -> None:
        async with asyncio.timeout(60), nothing_left(), server:
            engine = create(EngineSpec("embedder", server.url("vllm"), {"retries": 0}))
            await server.stop()
            with pytest.raises(EngineUnavailable, match="is the server running"):
                await engine.start()
            await server.start()
            await engine.start()
            assert output((await engine.execute([request("x")]))[0]).shape == (3,)
            await engine.close()

    asyncio.run(main())


def test_what_answers_say_of_rate_limits_is_told() -> None:
    told: list[RateReport] = []
    body = in_openais_shape(Seen("", "", {}, b'{"input": ["x"]}'))
    (content,) = body.steps
    assert isinstance(content, bytes)
    said = content.replace(b"\r\n", b"\r\nx-ratelimit-remaining-requests: 7\r\n", 1)

    async def work(engine: Any) -> None:
        engine.watch_rates(told.append)
        await engine.execute([request("x")])

    at(FaultServer(Answer((said,))), work)
    assert told == [RateReport(requests=Allowance(remaining=7.0))]


def test_the_options_stand_in_the_info() -> None:
    spec = EngineSpec(
        "embedder",
        "vllm://h:8000/m",
        {
            "concurrency": 5,
            "requests_per_minute": 60,
            "repeatable": True,
            "max_batch_items": 9,
        },
    )
    info = create(spec).info

    assert (info.kind, info.model) == ("embedder", "vllm://h:8000/m")
    assert (info.num_slots, info.max_batch_items) == (5, 9)
    assert info.capabilities == {"repeatable"}
    assert info.rate_limits == RateLimits(60, None)


def test_an_unknown_option_names_the_known() -> None:
    with pytest.raises(ConfigError, match="unknown option 'timeout'.*timeout_s") as caught:
        create(EngineSpec("embedder", "vllm://h:8000/m", {"timeout": 3}))

    assert "dimensions" in str(caught.value)


def test_calls_that_wait_for_others_of_their_request_are_not_late() -> None:
    def slow(seen: Seen) -> Answer:
        put_forward(0.5)
        return in_openais_shape(seen)

    texts = [str(n) for n in range(60)]

    (outcome,) = outcomes_of(
        FaultServer(slow), texts, batch_size=1, concurrency=2, timeout_s=10.0, retries=0
    )

    assert output(outcome).shape == (60, 3)


def test_an_answer_of_a_form_that_nobody_thought_of_fails_its_request_alone() -> None:
    body = {"data": [{"index": [0], "embedding": [1.0]}]}

    (outcome,) = outcomes_of(FaultServer(as_json(body)), "x")
    assert type(outcome) is EngineError
    assert "unhashable" in str(outcome)
