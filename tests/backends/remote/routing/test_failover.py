"""Endpoints that fail: what is moved, what is not, and how they come back."""

import asyncio
import logging
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from servers import Caller, LoadedServer, Server, routed, words

from backends.base import Outcome, Request, Result
from backends.engine_load import EngineLoad
from backends.errors import (
    ConfigError,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
)
from backends.fake.capabilities import REMOTE
from backends.fake.retrieval import FakeEmbedder
from backends.rate_limits import RateLimits
from backends.registry import EngineSpec
from backends.remote.routing.prompt_pages import prompt_of
from backends.remote.routing.routed_engine import RoutedEngine
from graph_opt.text import parse
from runtime.clock import run_virtual
from runtime.engine_scheduler import EngineScheduler
from runtime.events import EventLog
from runtime.hints import Hint
from runtime.job import Job
from runtime.layout import layout_of
from runtime.service import Runtime


async def ask_all(caller: Caller, count: int, gap_s: float = 0.05) -> None:
    tasks = []
    for i in range(count):
        tasks.append(asyncio.create_task(caller.ask(words(f"r{i}w", 80), max_tokens=3)))
        await asyncio.sleep(gap_s)
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("kind", [Server, LoadedServer])
def test_a_server_killed_and_restarted_under_load_loses_no_query_and_gets_traffic_again(
    kind: type[Server],
) -> None:
    well, killed = kind(), kind()

    async def main() -> tuple[Caller, int, int]:
        caller = Caller(routed(well, killed))
        await caller.engine.start()
        load = asyncio.create_task(ask_all(caller, 400))
        await asyncio.sleep(4.0)
        num_before = len(killed.seen)
        killed.kill()
        await asyncio.sleep(6.0)
        assert len(killed.seen) == num_before
        killed.restart()
        await load
        await caller.engine.close()
        return caller, num_before, len(killed.seen)

    caller, num_before, num_seen = run_virtual(main())
    assert caller.num_failed == 0
    assert num_before > 20
    assert num_seen - num_before > 60


def told_by(well: Server, *, tells: bool = True, **attrs: Any) -> tuple[Any, list[str]]:
    """The outcome of a request whose server dies after the first of three words, and what its
    caller hears; `well` is the other server."""
    pieces: list[str] = []

    async def main() -> Any:
        dying = Server(token_s=1.0)
        engine = routed(dying, well, routing="round_robin")
        await engine.start()
        engine._router._turn = -1  # dying is the first
        emit = pieces.append if tells else None
        request = Request("0" * 32, "generate", ("a b c",), {"max_tokens": 3} | attrs, emit=emit)
        asking = asyncio.create_task(engine.execute([request]))
        await asyncio.sleep(1.5)
        assert len(dying.seen) == 1
        dying.kill()
        return (await asking)[0]

    return run_virtual(main()), pieces


def test_a_request_whose_text_nobody_heard_moves() -> None:
    outcome, _ = told_by(Server(), tells=False, temperature=1.0)
    assert isinstance(outcome, Result)


def test_a_text_told_in_part_goes_on_at_another_server_where_it_will_be_the_same() -> None:
    for attrs in ({}, {"temperature": 1.0, "seed": 3}):
        outcome, pieces = told_by(Server(), **attrs)
        assert isinstance(outcome, Result)
        assert len(pieces) == 3
        assert "".join(pieces) == outcome.outputs[0]


def test_a_text_told_in_part_that_was_drawn_without_a_seed_is_lost() -> None:
    outcome, pieces = told_by(Server(), temperature=1.0)
    assert isinstance(outcome, EngineUnavailable)
    assert len(pieces) == 1


@pytest.mark.parametrize("reply", ["another text altogether", ""])
def test_a_text_told_in_part_that_comes_out_otherwise_is_an_error(reply: str) -> None:
    outcome, pieces = told_by(Server(replies={"a b c": reply}))
    assert isinstance(outcome, EngineUnavailable)
    assert "wrote it otherwise. the connection was reset" in str(outcome)
    assert len(pieces) == 1


def test_a_text_that_comes_out_otherwise_is_not_written_to_its_end() -> None:
    aborted = []

    class Noting(Server):
        def abort(self, request_id: str) -> None:
            aborted.append(request_id)
            super().abort(request_id)

    told_by(Noting(replies={"a b c": "another text altogether"}, token_s=1.0))
    assert set(aborted) == {"0" * 32}


def test_one_server_down_at_the_start_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    down, well = LoadedServer(), LoadedServer()
    down.is_down = True

    async def main() -> Caller:
        caller = Caller(routed(down, well))
        await caller.engine.start()
        await ask_all(caller, 5)
        down.restart()
        await asyncio.sleep(5.0)
        await ask_all(caller, 40)
        await caller.engine.close()
        return caller

    with caplog.at_level(logging.WARNING):
        assert run_virtual(main()).num_failed == 0
    assert "http://server0:8000: connection refused" in caplog.text
    assert len(down.seen) > 5


def test_no_server_at_the_start_is_an_error_that_names_each() -> None:
    servers = [Server(), Server()]
    for server in servers:
        server.is_down = True

    async def main() -> None:
        engine = routed(*servers)
        with pytest.raises(EngineUnavailable) as info:
            await engine.start()
        assert "http://server0:8000: connection refused" in str(info.value)
        assert "http://server1:8000: connection refused" in str(info.value)
        servers[1].is_down = False
        await engine.start()  # tried anew

    run_virtual(main())


def test_all_down_is_an_error_that_says_why_for_each_and_ends_when_one_is_back() -> None:
    servers = [LoadedServer(), LoadedServer()]

    async def main() -> None:
        caller = Caller(routed(*servers))
        await caller.engine.start()
        await caller.ask("first")
        for server in servers:
            server.kill()
        tried = await caller.ask("a")
        assert isinstance(tried, EngineUnavailable)
        for _ in range(3):
            await caller.ask("b")
        left_alone = await caller.ask("c")
        assert isinstance(left_alone, EngineUnavailable)
        for number in range(2):
            told = f"http://server{number}:8000: "
            assert told in str(tried)
            assert told + "left alone for" in str(left_alone)
        assert "connection refused" in str(left_alone)
        servers[1].restart()
        await asyncio.sleep(20.0)
        assert isinstance(await caller.ask("d"), Result)  # which waits for the probe
        await caller.engine.close()

    run_virtual(main())


def test_a_server_that_stays_down_is_asked_ever_more_rarely() -> None:
    well, down = LoadedServer(), LoadedServer()

    async def main() -> list[int]:
        caller = Caller(routed(well, down))
        await caller.engine.start()
        down.kill()
        polls = []
        for _ in range(4):
            await ask_all(caller, 100, gap_s=0.3)
            polls.append(down.num_polls)
        await caller.engine.close()
        return polls

    polls = run_virtual(main())
    assert polls[0] <= 7
    assert polls[3] - polls[2] <= 3


def test_a_server_that_answers_500_is_left_alone_and_its_requests_are_not_repeated() -> None:
    broken, well = Server(), Server()
    broken.failure = EngineError("500: CUDA error")

    async def main() -> Caller:
        caller = Caller(routed(broken, well))
        await caller.engine.start()
        await ask_all(caller, 40)
        return caller

    caller = run_virtual(main())
    assert caller.num_failed in range(3, 5)
    assert len(well.seen) == 40 - caller.num_failed


def test_a_wrong_request_is_refused_once_and_says_nothing_of_the_server() -> None:
    servers = [Server(), Server()]
    for server in servers:
        server.failure = RequestRejected("no such adapter")

    async def main() -> None:
        caller = Caller(routed(*servers))
        await caller.engine.start()
        for _ in range(10):
            assert isinstance(await caller.ask("a"), RequestRejected)
        for server in servers:
            server.failure = None
        assert isinstance(await caller.ask("a"), Result)

    run_virtual(main())


def test_what_brings_servers_down_is_tried_at_three_of_them() -> None:
    servers = [Server() for _ in range(5)]
    for server in servers:
        server.failure = EngineUnavailable("reset")

    async def main() -> None:
        caller = Caller(routed(*servers))
        await caller.engine.start()
        outcome = await caller.ask("a poisoned prompt")
        assert str(outcome).count("reset") == 3

    run_virtual(main())


def test_a_full_server_hands_requests_on_and_is_left_alone_for_as_long_as_it_asks() -> None:
    full, well = Server(), Server()
    full.failure = EngineOverloaded("429", retry_after_s=5.0)

    async def main() -> Caller:
        caller = Caller(routed(full, well, routing="round_robin"))
        await caller.engine.start()
        await ask_all(caller, 20)
        full.failure = None
        await asyncio.sleep(5.0)
        await ask_all(caller, 20)
        return caller

    assert run_virtual(main()).num_failed == 0
    assert len(well.seen) == 30
    assert len(full.seen) == 10


def test_all_full_is_an_overload_that_passes_with_the_first() -> None:
    servers = [Server(), Server()]
    servers[0].failure = EngineOverloaded("429", retry_after_s=9.0)
    servers[1].failure = EngineOverloaded("429", retry_after_s=4.0)

    async def main() -> None:
        caller = Caller(routed(*servers))
        await caller.engine.start()
        for _ in range(2):
            outcome = await caller.ask("a")
            assert isinstance(outcome, EngineOverloaded)
            assert outcome.retry_after_s == pytest.approx(4.0)

    run_virtual(main())


def test_the_scheduler_waits_until_a_full_engine_has_room() -> None:
    servers = [Server(), Server()]
    for server in servers:
        server.failure = EngineOverloaded("429", retry_after_s=6.0)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        scheduler = EngineScheduler("llm", routed(*servers))
        done: asyncio.Future[Any] = loop.create_future()
        request = Request("0" * 32, "generate", ("a b",), {"max_tokens": 1})
        scheduler.submit(Job(request, "q", Hint(0, 1.0), lambda _: None, done.set_result))
        await asyncio.sleep(1.0)
        for server in servers:
            server.failure = None
        assert isinstance(await done, Result)
        ended_s = loop.time()
        await scheduler.close()
        return ended_s

    assert run_virtual(main()) == pytest.approx(6.0, abs=0.1)


def test_an_abort_reaches_the_server_that_runs_the_request() -> None:
    servers = [Server(token_s=1.0), Server(token_s=1.0)]

    async def main() -> None:
        engine = routed(*servers)
        await engine.start()
        request = Request("a" * 32, "generate", ("a",), {"max_tokens": 3})
        running = asyncio.create_task(engine.execute([request]))
        await asyncio.sleep(1.5)
        engine.abort("b" * 32)
        engine.abort("a" * 32)
        assert str((await running)[0]) == "the request was aborted"
        assert asyncio.get_running_loop().time() < 3.0
        assert not any(endpoint.breaker.reason for endpoint in engine.endpoints)

    run_virtual(main())


def test_an_aborted_request_is_not_moved() -> None:
    dying, well = Server(token_s=1.0), Server()

    async def main() -> None:
        engine = routed(dying, well, routing="round_robin")
        await engine.start()
        engine._router._turn = -1
        request = Request("a" * 32, "generate", ("a",), {"max_tokens": 3})
        running = asyncio.create_task(engine.execute([request]))
        await asyncio.sleep(0.5)
        engine.abort("a" * 32)
        dying.kill()
        assert isinstance((await running)[0], EngineError)

    run_virtual(main())
    assert well.seen == []


def test_a_cancelled_request_leaves_nothing_behind() -> None:
    servers = [LoadedServer(), LoadedServer()]

    async def main() -> None:
        caller = Caller(routed(*servers))
        await caller.engine.start()
        asking = asyncio.create_task(caller.ask(words("w", 5000)))
        await asyncio.sleep(1.0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert not any(endpoint.is_busy for endpoint in caller.engine.endpoints)
        await caller.engine.close()
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())


def cached_tokens(engine: RoutedEngine, place: int, text: str, context: Any = None) -> float:
    """What a request would find at an endpoint, as far as the router knows."""
    prompt = prompt_of([Request("0" * 32, "generate", (text,))])
    at_home = engine._router.homes.tokens_at(context, engine.endpoints[place])
    return engine.endpoints[place].view(prompt, 0.1, at_home, 0.001).cached_tokens


def test_an_endpoint_that_fails_is_taken_to_have_an_empty_cache() -> None:
    server, head = Server(), words("head", 500)

    async def main() -> None:
        caller = Caller(routed(server))
        await caller.engine.start()
        context = await caller.prefill(head, ahead=True)
        assert cached_tokens(caller.engine, 0, head) > 300
        assert cached_tokens(caller.engine, 0, "", context) == 0  # no more than the prompt has
        assert caller.engine._router.homes.tokens_at(context, caller.engine.endpoints[0]) == 500
        server.kill()
        for i in range(3):
            await caller.ask(f"text {i}")
        assert cached_tokens(caller.engine, 0, head) == 0
        assert caller.engine._router.homes.tokens_at(context, caller.engine.endpoints[0]) == 0

    run_virtual(main())


def test_a_cache_that_was_flushed_unseen_is_noticed_by_what_usage_says() -> None:
    server = Server()
    texts = [words("a", 300), words("b", 300)]

    async def main() -> None:
        caller = Caller(routed(server))
        await caller.engine.start()
        for text in texts:
            await caller.ask(text)
        assert cached_tokens(caller.engine, 0, texts[1]) > 100
        server._cache._prompts.clear()
        await caller.ask(texts[0])
        assert cached_tokens(caller.engine, 0, texts[0]) > 100
        assert cached_tokens(caller.engine, 0, texts[1]) == 0

    run_virtual(main())


def test_embedders_go_as_batches_and_move_too() -> None:
    class Embedder(FakeEmbedder):
        is_down = False

        async def execute(self, requests: Any) -> Any:
            if self.is_down:
                raise EngineUnavailable("connection refused")
            return await super().execute(requests)

    engines = [Embedder("fake:", {"latency_s": 0.1}) for _ in range(2)]
    engines[0].is_down = True
    engine = RoutedEngine("vllm://a,b", {"a": engines[0], "b": engines[1]}, random=Random(1))

    async def main() -> None:
        await engine.start()
        requests = [Request(f"{i:032x}", "embed", (f"text {i}",)) for i in range(4)]
        for _ in range(5):
            outcomes = await engine.execute(requests)
            assert all(isinstance(outcome, Result) for outcome in outcomes)

    run_virtual(main())
    assert [len(batch) for batch in engines[1].journal] == [4] * 5


def test_an_abort_ends_a_request_that_waits_for_a_slot_and_no_other() -> None:
    servers = [Server(num_slots=1, token_s=1.0) for _ in range(2)]

    async def main() -> None:
        engine = routed(*servers)
        await engine.start()
        tasks = [
            asyncio.create_task(
                engine.execute([Request(f"{i:032x}", "generate", (f"p {i}",), {"max_tokens": 3})])
            )
            for i in range(5)
        ]
        await asyncio.sleep(0.1)
        engine.abort(f"{3:032x}")
        (outcome,) = await asyncio.wait_for(tasks[3], 0.1)
        assert "aborted" in str(outcome)
        others = [(await task)[0] for i, task in enumerate(tasks) if i != 3]
        assert all(isinstance(outcome, Result) for outcome in others)
        await engine.close()

    run_virtual(main())
    assert f"{3:032x}" not in [*servers[0].seen, *servers[1].seen]


def test_an_abort_of_one_text_leaves_the_others_of_its_batch_that_move() -> None:
    class Dying(FakeEmbedder):
        async def execute(self, requests: Any) -> Any:
            engine.abort(requests[1].id)
            raise EngineUnavailable("the connection was reset")

    well = FakeEmbedder("fake:", {})
    engine = RoutedEngine(
        "vllm://a,b", {"a": Dying("fake:", {}), "b": well}, "round_robin", random=Random(1)
    )

    async def main() -> list[Outcome]:
        await engine.start()
        engine._router._turn = -1  # dying is the first
        requests = [Request(f"{i:032x}", "embed", (f"text {i}",)) for i in range(3)]
        return await engine.execute(requests)

    outcomes = run_virtual(main())
    assert [isinstance(outcome, Result) for outcome in outcomes] == [True, False, True]
    assert "aborted" in str(outcomes[1])
    assert [len(batch) for batch in well.journal] == [2]


def test_wrong_settings_of_one_endpoint_are_told_when_all_have_started() -> None:
    ended = []

    class Wrong(Server):
        async def start(self) -> None:
            raise ConfigError("the server lists several models")

    class Slow(Server):
        async def start(self) -> None:
            await asyncio.sleep(5.0)
            ended.append("slow")

    async def main() -> None:
        with pytest.raises(ConfigError, match="several models"):
            await routed(Wrong(), Slow()).start()
        assert ended == ["slow"]

    run_virtual(main())


def test_a_probe_that_is_not_answered_has_failed() -> None:
    class Hung(LoadedServer):
        is_hung = False

        async def load(self) -> EngineLoad:
            if self.is_hung:
                await asyncio.sleep(3600.0)
            return await super().load()

    hung, well = Hung(), LoadedServer()

    async def main() -> str:
        caller = Caller(routed(hung, well))
        await caller.engine.start()
        hung.kill()
        await ask_all(caller, 20)
        hung.restart()
        hung.is_hung = True
        await ask_all(caller, 300)
        assert caller.num_failed == 0
        await caller.engine.close()
        return caller.engine.endpoints[0].breaker.reason

    assert run_virtual(main()) == "no answer within 10 s"


def test_a_prompt_that_failed_is_not_taken_to_be_in_the_cache_there() -> None:
    failing, well = Server(), Server()

    async def main() -> None:
        caller = Caller(routed(failing, well))
        await caller.engine.start()
        caller.engine._router._turn = -1  # failing is the first
        failing.failure = EngineUnavailable("the connection was reset")
        await caller.ask(words("a", 500), max_tokens=3)
        failing.failure = None
        for _ in range(6):
            await caller.ask(words("a", 500), max_tokens=3)
        assert caller.num_failed == 0
        await caller.engine.close()

    run_virtual(main())
    assert failing.seen == []
    assert len(well.seen) == 7


def test_an_endpoint_that_comes_back_with_wrong_settings_is_left_alone() -> None:
    down, well = LoadedServer(), LoadedServer()
    down.is_down = True
    num_probes = []

    async def wrong() -> None:
        num_probes.append(1)
        raise ConfigError("the server lists several models")

    async def main() -> str:
        caller = Caller(routed(down, well))
        await caller.engine.start()
        down.start = wrong  # type: ignore[method-assign]
        await ask_all(caller, 100)
        assert caller.num_failed == 0
        await caller.engine.close()
        return caller.engine.endpoints[0].breaker.reason

    assert run_virtual(main()) == "the server lists several models"
    assert 1 <= len(num_probes) <= 4


def test_an_engine_of_several_endpoints_can_do_what_all_can() -> None:
    servers = [
        Server(max_context_tokens=1000, requests_per_minute=60),
        Server(max_context_tokens=500, capabilities=("generate", "stream"), num_slots=8),
    ]
    info = routed(*servers).info
    assert info.capabilities == {"generate", "stream"}
    assert info.num_slots == 64 + 8
    assert info.max_context_tokens == 500
    assert info.rate_limits == RateLimits(requests_per_minute=60)
    assert info.model == "vllm://servers/model"


def test_an_unknown_routing_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="predicted_ttft"):
        routed(Server(), routing="random")


def test_a_result_names_the_endpoint_that_answered() -> None:
    servers = [Server(), Server()]

    async def main() -> None:
        caller = Caller(routed(*servers, routing="round_robin"))
        await caller.engine.start()
        for _ in range(2):
            await caller.ask("a")
        answered = {o.endpoint for o in caller.outcomes if isinstance(o, Result)}
        assert answered == {"http://server0:8000", "http://server1:8000"}

    run_virtual(main())


def test_the_end_of_a_request_names_the_endpoint_in_the_events_of_its_query() -> None:
    log = EventLog()
    text = """
    graph g {
      %x = input [type="str"]
      %y = generate %x [engine="llm"]
      return %y
    }
    """

    async def main() -> None:
        engine = routed(Server(), Server())
        runtime = Runtime(make=lambda _: engine)
        specs = {"llm": EngineSpec("llm", "vllm://servers/model")}
        await runtime.run(layout_of(parse(text)), {"x": "a b"}, specs, {}, listener=log)
        await runtime.close()

    run_virtual(main())
    (end,) = [event for event in log.events if event.kind == "end"]
    assert end.fields["endpoint"].startswith("http://server")


def test_endpoints_of_ids_and_of_text_are_not_mixed() -> None:
    ids = Server(capabilities={*REMOTE["vllm"], "generate"})
    text = Server(capabilities={*REMOTE["vllm"], "generate"})
    ids._able = ids._able | {"token_ids"}

    async def main() -> str:
        engine = routed(ids, text)
        await engine.start()
        return " ".join(endpoint.breaker.reason for endpoint in engine.endpoints)

    assert "name the tokenizer of all" in run_virtual(main())


def test_a_server_that_does_not_say_its_load_is_probed_by_a_request() -> None:
    class Silent(LoadedServer):
        async def load(self) -> EngineLoad:
            raise EngineError("no such metric")

    servers = [Silent(), Silent()]

    async def main() -> None:
        caller = Caller(routed(*servers))
        await caller.engine.start()
        await ask_all(caller, 20)
        servers[0].kill()
        await ask_all(caller, 40)
        servers[0].restart()
        await asyncio.sleep(10.0)
        before = len(servers[0].seen)
        await ask_all(caller, 40)
        assert len(servers[0].seen) > before
        assert not caller.engine.endpoints[0].breaker.is_open
        await caller.engine.close()

    run_virtual(main())


def test_a_request_reaches_its_server_as_it_is() -> None:
    class Noting(Server):
        last: Request

        async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
            (self.last,) = requests
            return await super().execute(requests)

    server = Noting()
    pieces: list[str] = []

    async def main() -> None:
        engine = routed(server)
        await engine.start()
        attrs = {"max_tokens": 3, "seed": 5}
        sent = Request("c" * 32, "generate", ("a b",), attrs, priority=-1, emit=pieces.append)
        (outcome,) = await engine.execute([sent])
        assert isinstance(outcome, Result)
        assert "".join(pieces) == outcome.outputs[0]
        for name in ("id", "op", "inputs", "attrs", "priority"):
            assert getattr(server.last, name) == getattr(sent, name)

    run_virtual(main())


def test_a_prefill_that_stays_with_the_client_needs_no_endpoint_that_is_up() -> None:
    servers = [Server(), Server()]
    engine = routed(*servers)

    async def main() -> None:
        await engine.start()
        caller = Caller(engine)
        servers[0].kill()
        assert (await caller.prefill("some text")).num_tokens == 2
        servers[1].kill()
        (outcome,) = await engine.execute([Request("0" * 32, "prefill", (None, "some text"))])
        assert isinstance(outcome, EngineUnavailable)
        await engine.close()

    run_virtual(main())
