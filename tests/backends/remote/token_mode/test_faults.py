"""Aborts, and servers that fail, in token mode: typed errors, nothing hangs, nothing is left."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fault_server import (
    CLOSE,
    HANG,
    RESET,
    Answer,
    FaultServer,
    Seen,
    as_json,
    broken,
    events,
    hung,
    nothing_left,
    overloaded,
    truncated,
)
from recorded_server import RecordedServer, ask, engine_at

from backends.base import Engine, Request, Result
from backends.errors import EngineError, EngineOverloaded, EngineUnavailable, RequestRejected

PATHS = {"sglang": "/generate", "vllm": "/v1/completions"}
HELLO = (None, "Hello?")


def chunk(scheme: str, text: str, ids: list[int], ends: bool = False) -> dict[str, Any]:
    if scheme == "sglang":
        reason = {"type": "stop", "matched": 258} if ends else None
        meta = {"id": "x", "finish_reason": reason, "prompt_tokens": 6, "completion_tokens": 1}
        return {"text": text, "output_ids": ids, "meta_info": {**meta, "cached_tokens": 0}}
    choice = {"index": 0, "text": text, "token_ids": ids, "logprobs": None}
    return {"choices": [{**choice, "finish_reason": "stop" if ends else None}]}


class Failing(RecordedServer):
    """Starts as it should, then answers completions as a test says."""

    def __init__(self, scheme: str, *answers: Answer) -> None:
        super().__init__(scheme, {"exchanges": []})
        self._path = PATHS[scheme]
        self._answers = list(answers)
        self.has_abort = False

    def reply(self, seen: Seen) -> Answer:
        if seen.path == "/inference/v1/abort_requests" and self.has_abort:
            self.asked.append((seen.path, seen.body))
            return as_json({})
        is_probe = seen.method == "POST" and seen.body.get("prompt") == [0]
        if seen.path == "/abort_request":
            self.asked.append((seen.path, seen.body))
            return as_json(None)
        if seen.path != self._path or is_probe:
            return super().reply(seen)
        self.asked.append((seen.path, seen.body))
        return self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


Work = Callable[[Engine, FaultServer], Coroutine[Any, Any, None]]


def with_engine(server: RecordedServer, tokenizer: Path, work: Work, **options: Any) -> None:
    scheme = server._scheme

    async def main() -> None:
        async with (
            asyncio.timeout(60),
            nothing_left(),
            engine_at(scheme, server, tokenizer, **options) as (engine, http),
        ):
            await work(engine, http)

    asyncio.run(main())


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_true():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_abort_is_told_to_sglang_by_the_id_of_the_request(
    tiny_tokenizer: Path, is_streamed: bool
) -> None:
    server = Failing("sglang", hung)

    async def work(engine: Engine, http: FaultServer) -> None:
        emit = print if is_streamed else None
        request = Request("ab" * 16, "decode", HELLO, {"max_tokens": 8}, emit=emit)
        running = asyncio.create_task(engine.execute([request]))
        await until(lambda: bool(server.asked))
        engine.abort("cd" * 16)  # an unknown id passes
        engine.abort(request.id)
        (outcome,) = await running
        assert isinstance(outcome, EngineError)
        assert str(outcome) == "the request was aborted"
        await until(lambda: len(server.asked) == 2)
        assert server.asked[1] == ("/abort_request", {"rid": request.id})

    with_engine(server, tiny_tokenizer, work)


def test_sglang_is_told_of_a_call_that_was_given_up_after_a_silence(tiny_tokenizer: Path) -> None:
    server = Failing("sglang", Answer((HANG,)))

    async def work(engine: Engine, http: FaultServer) -> None:
        assert isinstance(await ask(engine, "decode", *HELLO), EngineUnavailable)
        await until(lambda: "/abort_request" in server.paths())
        sent, aborted = (body for _, body in server.asked)
        assert aborted == {"rid": sent["rid"]}

    with_engine(server, tiny_tokenizer, work, retries=0, read_timeout_s=1.0)


def test_an_abort_ends_every_sample_of_a_request(tiny_tokenizer: Path) -> None:
    warm = as_json(chunk("sglang", "", []))
    server = Failing("sglang", warm, hung, hung)

    async def work(engine: Engine, http: FaultServer) -> None:
        attrs = {"max_tokens": 8, "n": 2, "temperature": 1.0}
        request = Request("ab" * 16, "decode", HELLO, attrs)
        running = asyncio.create_task(engine.execute([request]))
        await until(lambda: len(server.asked) == 3)
        engine.abort(request.id)
        await running
        await until(lambda: len(server.asked) == 5)
        sent = {body["rid"] for path, body in server.asked[1:3]}
        told = {body["rid"] for path, body in server.asked[3:]}
        assert sent == told
        assert len(sent) == 2

    with_engine(server, tiny_tokenizer, work)


@pytest.mark.parametrize("has_abort", [False, True])
def test_a_cancelled_call_closes_the_connection_and_tells_vllm_where_it_listens(
    tiny_tokenizer: Path, has_abort: bool
) -> None:
    server = Failing("vllm", hung)
    server.has_abort = has_abort

    async def work(engine: Engine, http: FaultServer) -> None:
        server.asked.clear()
        num_before = http.num_open
        request = Request("ab" * 16, "decode", HELLO, {"max_tokens": 8})
        running = asyncio.create_task(engine.execute([request]))
        await until(lambda: bool(server.asked))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        if has_abort:
            await until(lambda: len(server.asked) == 2)
            assert server.asked[1][1] == {"request_ids": [f"cmpl-{request.id}-0"]}
        await until(lambda: http.num_open <= num_before)

    with_engine(server, tiny_tokenizer, work)


@pytest.mark.parametrize("scheme", PATHS)
def test_closing_an_engine_ends_what_runs(tiny_tokenizer: Path, scheme: str) -> None:
    server = Failing(scheme, hung)

    async def work(engine: Engine, http: FaultServer) -> None:
        running = asyncio.create_task(engine.execute([Request("ab" * 16, "decode", HELLO)]))
        await until(lambda: bool(server.asked))
        await engine.close()
        (outcome,) = await running
        assert isinstance(outcome, EngineError)
        with pytest.raises(EngineUnavailable):
            await engine.start()

    with_engine(server, tiny_tokenizer, work)


@pytest.mark.parametrize("scheme", PATHS)
@pytest.mark.parametrize("end", [RESET, CLOSE])
def test_a_stream_that_breaks_is_an_error_and_is_not_begun_again(
    tiny_tokenizer: Path, scheme: str, end: str
) -> None:
    server = Failing(scheme, events(chunk(scheme, "H", [39]), end=(0.05, end)))

    async def work(engine: Engine, http: FaultServer) -> None:
        shown: list[str] = []
        outcome = await ask(engine, "decode", *HELLO, emit=shown.append)
        assert isinstance(outcome, EngineError)
        assert http.address in str(outcome)
        assert shown == ["H"]
        assert server.paths().count(PATHS[scheme]) == 1

    with_engine(server, tiny_tokenizer, work)


@pytest.mark.parametrize("scheme", PATHS)
def test_a_stream_without_an_end_is_an_error(tiny_tokenizer: Path, scheme: str) -> None:
    server = Failing(scheme, events(chunk(scheme, "H", [39])))

    async def work(engine: Engine, http: FaultServer) -> None:
        outcome = await ask(engine, "decode", *HELLO, emit=print)
        assert isinstance(outcome, EngineError)
        assert "ended an answer without a reason" in str(outcome)

    with_engine(server, tiny_tokenizer, work)


@pytest.mark.parametrize("scheme", PATHS)
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer((HANG,)), EngineUnavailable),
        (broken, EngineUnavailable),
        (truncated({"text": "x" * 50}), EngineUnavailable),
        (as_json(["no object"]), EngineError),
        (as_json({"text": "Hi"}), EngineError),
        (overloaded("7", 503), EngineOverloaded),
        (overloaded("7"), EngineOverloaded),
        (as_json({"error": {"message": "bad top_k"}}, 400), RequestRejected),
        (as_json({"error": {"message": "it broke"}}, 500), EngineError),
    ],
    ids=["hung", "reset", "truncated", "list", "fields", "503", "429", "400", "500"],
)
def test_a_bad_answer_fails_its_request_alone(
    tiny_tokenizer: Path, scheme: str, answer: Answer, kind: type[EngineError]
) -> None:
    whole = chunk(scheme, "Hi", [39, 72, 258], ends=True)
    server = Failing(scheme, answer, as_json({**whole, "usage": {"completion_tokens": 3}}))

    async def work(engine: Engine, http: FaultServer) -> None:
        bad = await ask(engine, "decode", *HELLO)
        good = await ask(engine, "decode", *HELLO)
        assert isinstance(bad, kind)
        assert http.address in str(bad)
        if isinstance(bad, EngineOverloaded):
            assert bad.retry_after_s == 7
        assert isinstance(good, Result)
        assert good.outputs[0] == "Hi"

    read_timeout_s = 1.0 if HANG in answer.steps else 30.0
    with_engine(server, tiny_tokenizer, work, retries=0, read_timeout_s=read_timeout_s)


@pytest.mark.parametrize("ids", [[-1], [39, "72"], [True]])
@pytest.mark.parametrize("scheme", PATHS)
def test_what_is_no_token_id_is_an_error(tiny_tokenizer: Path, scheme: str, ids: list[Any]) -> None:
    async def work(engine: Engine, http: FaultServer) -> None:
        bad = await ask(engine, "decode", *HELLO)
        assert type(bad) is EngineError
        assert "token ids" in str(bad)

    with_engine(Failing(scheme, as_json(chunk(scheme, "", ids, ends=True))), tiny_tokenizer, work)


@pytest.mark.parametrize(("told", "cached"), [(10**6, True), (-5, False)])
@pytest.mark.parametrize("scheme", PATHS)
def test_more_cached_tokens_than_the_prompt_has_count_as_all_and_fewer_than_none_as_none(
    tiny_tokenizer: Path, scheme: str, told: int, cached: bool
) -> None:
    answer = chunk(scheme, "Hi", [39, 72, 258], ends=True)
    if scheme == "sglang":
        answer["meta_info"]["cached_tokens"] = told
    details = {"prompt_tokens_details": {"cached_tokens": told}, "completion_tokens": 3}

    async def work(engine: Engine, http: FaultServer) -> None:
        usage = (await ask(engine, "decode", *HELLO)).usage
        counts = [usage.prefill_tokens, usage.cached_tokens]
        assert counts == sorted(counts, reverse=not cached)
        assert min(counts) == 0
        assert sum(counts) > 0

    with_engine(Failing(scheme, as_json({**answer, "usage": details})), tiny_tokenizer, work)


@pytest.mark.parametrize("scheme", PATHS)
def test_a_server_that_comes_back_is_used_again(tiny_tokenizer: Path, scheme: str) -> None:
    whole = chunk(scheme, "Hi", [39, 72, 258], ends=True)
    server = Failing(scheme, as_json(whole))

    async def work(engine: Engine, http: FaultServer) -> None:
        assert isinstance(await ask(engine, "decode", *HELLO), Result)
        await http.stop()
        assert isinstance(await ask(engine, "decode", *HELLO), EngineUnavailable)
        await http.start()
        assert isinstance(await ask(engine, "decode", *HELLO), Result)

    with_engine(server, tiny_tokenizer, work, retries=0)


@pytest.mark.parametrize("scheme", PATHS)
def test_requests_of_one_batch_have_outcomes_of_their_own(
    tiny_tokenizer: Path, scheme: str
) -> None:
    server = Failing(scheme, as_json(chunk(scheme, "Hi", [39, 72, 258], ends=True)))

    async def work(engine: Engine, http: FaultServer) -> None:
        good, bad = Request("ab" * 16, "decode", HELLO), Request("cd" * 16, "embed", HELLO)
        outcomes = await engine.execute([bad, good])
        assert isinstance(outcomes[0], RequestRejected)
        assert "has no op 'embed'" in str(outcomes[0])
        assert isinstance(outcomes[1], Result)

    with_engine(server, tiny_tokenizer, work)


def test_an_emit_that_raises_ends_its_request(tiny_tokenizer: Path) -> None:
    server = Failing("sglang", events(chunk("sglang", "H", [39]), 0.05, HANG))

    def emit(_: str) -> None:
        raise ZeroDivisionError("no")

    async def work(engine: Engine, http: FaultServer) -> None:
        outcome = await ask(engine, "decode", *HELLO, emit=emit)
        assert isinstance(outcome, EngineError)
        assert isinstance(outcome.__cause__, ZeroDivisionError)
        await until(lambda: "/abort_request" in server.paths())

    with_engine(server, tiny_tokenizer, work)
