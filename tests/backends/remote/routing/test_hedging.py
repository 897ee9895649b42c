"""A slow request gets a copy at another endpoint, and the first answer wins."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from servers import Caller, Server, routed

from backends.base import Outcome, Request, Result
from backends.errors import ConfigError, EngineError, RequestAborted
from backends.registry import EngineSpec, create
from backends.remote.routing.routed_engine import RoutedEngine
from runtime.clock import now, run_virtual


def asked(number: int, told: list[str] | None = None, **attrs: Any) -> Request:
    emit = None if told is None else told.append
    attrs = {"max_tokens": 4, **attrs}
    return Request(f"{number:032x}", "generate", (f"prompt {number}",), attrs, emit=emit)


def racing(*servers: Server, hedge: Any = 1.0) -> RoutedEngine:
    return routed(*servers, routing="round_robin", hedge=hedge)


async def ask(engine: RoutedEngine, request: Request) -> Any:
    return (await engine.execute([request]))[0]


def slow_and_fast() -> tuple[Server, Server]:
    return Server(token_s=10.0), Server(token_s=0.01)


@pytest.mark.parametrize("tells", [True, False])
def test_the_copy_wins_where_the_first_is_slow_and_its_text_is_told_once(tells: bool) -> None:
    servers = slow_and_fast()
    engine = racing(*servers)

    async def main() -> None:
        await engine.start()
        for number in range(2):  # one begins at each
            told: list[str] = []
            outcome = await ask(engine, asked(number, told if tells else None))
            assert isinstance(outcome, Result)
            assert outcome.endpoint == "http://server1:8000"
            assert "".join(told) == (outcome.outputs[0] if tells else "")
        assert engine.hedging is not None
        assert engine.hedging.num_copies == 1
        assert now() < 2
        assert not engine._running
        await engine.close()

    run_virtual(main())


def test_no_copy_is_sent_of_what_tells_in_time() -> None:
    servers = Server(token_s=0.6), Server(token_s=0.6)
    engine = racing(*servers)

    async def main() -> None:
        await engine.start()
        told: list[str] = []
        assert isinstance(await ask(engine, asked(0, told)), Result)
        assert engine.hedging is not None
        assert engine.hedging.num_copies == 0
        await engine.close()

    run_virtual(main())


def test_what_the_loser_computed_counts_as_wasted_where_it_tells() -> None:
    servers = Server(token_s=0.05), Server(token_s=0.05)
    engine = racing(*servers, hedge=0.03)

    async def main() -> None:
        await engine.start()
        first = await ask(engine, asked(0))
        assert isinstance(first, Result)
        assert engine.hedging is not None
        assert engine.hedging.num_copies == 1
        assert first.usage.wasted_tokens == 2  # of three, when the first one ended
        assert first.usage.estimated_tokens == 0
        await engine.close()

    run_virtual(main())


class Silent(Server):
    """A server that says of a request whose connection is closed only that it was aborted."""

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        outcomes = await super().execute(requests)
        is_aborted = [isinstance(outcome, RequestAborted) for outcome in outcomes]
        return [
            EngineError("aborted") if a else o for a, o in zip(is_aborted, outcomes, strict=True)
        ]


@pytest.mark.parametrize("tells", [True, False])
def test_what_a_loser_computed_that_tells_nothing_is_estimated(tells: bool) -> None:
    prompt = " ".join(f"word{number}" for number in range(200))
    engine = racing(Silent(token_s=0.01), Silent(token_s=10.0, prefill_token_s=1e-4))

    async def main() -> None:
        await engine.start()
        told: list[str] | None = [] if tells else None
        emit = None if told is None else told.append
        request = Request("0" * 32, "generate", (prompt,), {"max_tokens": 4}, emit=emit)
        usage = (await ask(engine, request)).usage
        num_prompt = usage.prefill_tokens
        assert usage.wasted_tokens == usage.estimated_tokens
        assert 0.5 * num_prompt < usage.wasted_tokens <= 4 * num_prompt
        assert not engine._flights
        await engine.close()

    run_virtual(main())


def test_without_a_copy_nothing_is_wasted() -> None:
    engine = racing(Silent(), Silent(), hedge=60.0)

    async def main() -> None:
        await engine.start()
        usage = (await ask(engine, asked(0))).usage
        assert (usage.wasted_tokens, usage.estimated_tokens) == (0, 0)
        await engine.close()

    run_virtual(main())


def test_without_room_elsewhere_there_is_no_copy() -> None:
    servers = Server(token_s=10.0, num_slots=1), Server(token_s=10.0, num_slots=1)
    engine = racing(*servers)

    async def main() -> None:
        await engine.start()
        await asyncio.gather(*(ask(engine, asked(number)) for number in range(2)))
        assert engine.hedging is not None
        assert engine.hedging.num_copies == 0
        await engine.close()

    run_virtual(main())


def test_an_abort_ends_both() -> None:
    servers = Server(token_s=10.0), Server(token_s=10.0)
    engine = racing(*servers)

    async def main() -> None:
        await engine.start()
        task = asyncio.create_task(ask(engine, asked(0)))
        await asyncio.sleep(1.5)
        assert [len(server._running) for server in servers] == [1, 1]
        engine.abort(asked(0).id)
        assert isinstance(await task, EngineError)
        assert [len(server._running) for server in servers] == [0, 0]
        assert not engine._running
        await engine.close()

    run_virtual(main())


def test_copies_are_few_though_all_is_slow() -> None:
    servers = Server(token_s=10.0), Server(token_s=10.0)
    engine = racing(*servers)

    async def main() -> None:
        await engine.start()
        caller = Caller(engine)
        await asyncio.gather(*(caller.ask(f"prompt {n}", max_tokens=2) for n in range(50)))
        assert engine.hedging is not None
        assert engine.hedging.num_copies <= 10 + 5
        await engine.close()

    run_virtual(main())


def test_p95_is_that_of_recent_requests() -> None:
    servers = Server(token_s=0.01), Server(token_s=0.01)
    engine = racing(*servers, hedge="p95")

    async def main() -> None:
        await engine.start()
        assert engine.hedging is not None
        for number in range(30):
            assert (engine.hedging.after_s is None) == (number < 20)
            await ask(engine, asked(number))
        after_s = engine.hedging.after_s
        assert after_s is not None
        assert 0.03 < after_s < 0.2
        servers[0].hangs = True
        began_s = now()
        for number in range(30, 34):
            assert isinstance(await ask(engine, asked(number)), Result)
        assert now() - began_s < 1
        await engine.close()

    run_virtual(main())


def test_one_instance_alone_cannot_be_hedged() -> None:
    with pytest.raises(ConfigError, match="hedge_s"):
        create(EngineSpec("llm", "vllm://a:8000/model", {"hedge_s": 1.0}))
    with pytest.raises(ConfigError, match="instances=2"):
        create(EngineSpec("llm", "process:local:smollm2-135m", {"hedge_s": 1.0}))
    with pytest.raises(ConfigError, match="hedge_s"):
        create(EngineSpec("llm", "vllm://a:8000,b:8000/model", {"hedge_s": 0}))
