"""A slow request gets a copy at another endpoint, and the first answer wins."""

import asyncio
from typing import Any

import pytest
from servers import Caller, Server, routed

from backends.base import Request, Result
from backends.errors import ConfigError, EngineError
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
        await engine.close()
        return

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
