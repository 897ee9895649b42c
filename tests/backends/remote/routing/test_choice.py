"""Workloads on fake servers in virtual time: which rule finds caches, and keeps queues short."""

import asyncio
from dataclasses import replace
from random import Random

import pytest
from servers import Caller, LoadedServer, Server, routed, words

from backends.engine_load import EngineLoad
from backends.remote.routing.choice import CHOICES, Terms, View, exploit_or_explore, predicted_s
from runtime.clock import run_virtual

NUM_SERVERS = 12
SYSTEM = words("system", 40)  # what every prompt begins with


async def sessions(caller: Caller, seed: int) -> None:
    """Chats of several turns that begin at random times; each turn sends all before it."""

    async def session(name: str) -> None:
        draw = Random(f"{seed} {name}")
        await asyncio.sleep(draw.uniform(0.0, 30.0))
        prompt = SYSTEM
        for turn in range(draw.randint(3, 7)):
            prompt += words(f"{name}t{turn}w", draw.randint(50, 200))
            await caller.ask(prompt, max_tokens=4)
            await asyncio.sleep(draw.expovariate(1 / 4.0))

    await asyncio.gather(*(session(f"s{i}") for i in range(96)))


def run_sessions(routing: str, seed: int = 1) -> Caller:
    async def main() -> Caller:
        caller = Caller(
            routed(*(Server(prefill_token_s=0.004) for _ in range(NUM_SERVERS)), routing=routing)
        )
        await caller.engine.start()
        await sessions(caller, seed)
        await caller.engine.close()
        return caller

    return run_virtual(main())


@pytest.mark.parametrize("seed", [1, 2])
def test_rules_that_know_of_caches_use_them_and_keep_queues_short(seed: int) -> None:
    found = {name: run_sessions(name, seed) for name in CHOICES}
    for name in ("predicted_ttft", "prefix"):
        ours = found[name]
        assert ours.num_failed == 0
        assert ours.cached_tokens >= 3 * found["round_robin"].cached_tokens
        assert ours.mean_first_s <= 0.75 * found["least_loaded"].mean_first_s


@pytest.mark.parametrize("routing", ["prefix", "predicted_ttft"])
def test_a_head_that_all_prompts_share_does_not_bring_all_to_one_server(routing: str) -> None:
    servers = [Server() for _ in range(4)]

    async def main() -> None:
        caller = Caller(routed(*servers, routing=routing))
        await caller.engine.start()
        await asyncio.gather(
            *(caller.ask(SYSTEM + words(f"r{i}w", 400), max_tokens=2) for i in range(80))
        )

    run_virtual(main())
    counts = [len(server.seen) for server in servers]
    assert max(counts) <= 1.25 * sum(counts) / 4


def test_a_hot_prefix_spreads_when_its_server_is_busy() -> None:
    servers = [Server() for _ in range(4)]
    hot = words("hot", 600)

    async def main() -> float:
        caller = Caller(routed(*servers))
        await caller.engine.start()
        await caller.ask(hot, max_tokens=1)
        await asyncio.gather(
            *(caller.ask(hot + words(f"r{i}w", 300), max_tokens=2) for i in range(64))
        )
        return caller.mean_first_s

    mean_s = run_virtual(main())
    assert min(len(server.seen) for server in servers) >= 8
    assert mean_s < 64 * 0.3 / 2 / 2  # half of what it is at one server


def test_one_app_with_a_long_head_stays_where_the_head_is_while_that_is_fast() -> None:
    servers = [Server() for _ in range(4)]
    head = words("head", 1000)

    async def main() -> Caller:
        caller = Caller(routed(*servers))
        await caller.engine.start()
        for i in range(12):
            await caller.ask(head + words(f"r{i}w", 50), max_tokens=2)
        return caller

    caller = run_virtual(main())
    assert sorted(len(server.seen) for server in servers) == [0, 0, 0, 12]
    assert caller.cached_tokens >= 11 * 1000


def test_several_apps_with_long_heads_share_the_servers_among_them() -> None:
    def run(routing: str) -> tuple[Caller, list[Server]]:
        servers = [Server() for _ in range(4)]

        async def main() -> Caller:
            draw = Random(3)
            caller = Caller(routed(*servers, routing=routing))
            await caller.engine.start()

            async def app(name: str) -> None:
                head = words(name, 800)
                for i in range(10):
                    await asyncio.sleep(draw.expovariate(2.0))
                    await caller.ask(head + words(f"{name}r{i}w", 40), max_tokens=2)

            await asyncio.gather(*(app(f"app{i}") for i in range(8)))
            return caller

        return run_virtual(main()), servers

    ours, servers = run("predicted_ttft")
    robin, _ = run("round_robin")
    assert ours.mean_first_s <= 0.75 * robin.mean_first_s
    assert ours.cached_tokens > robin.cached_tokens
    assert min(len(server.seen) for server in servers) > 0


def test_a_slow_server_is_avoided_and_tried_again_after_a_while() -> None:
    fast, slow = Server(), Server(prefill_token_s=0.02)

    async def main() -> tuple[int, int]:
        caller = Caller(routed(fast, slow))
        await caller.engine.start()
        for i in range(40):
            await caller.ask(words(f"r{i}w", 200), max_tokens=2)
        before = len(slow.seen)
        slow.options = {**slow.options, "prefill_token_s": 0.001}
        slow._cache._token_s = 0.001
        await asyncio.sleep(600.0)
        for i in range(40):
            await caller.ask(words(f"q{i}w", 200), max_tokens=2)
        return before, len(slow.seen) - before

    before, after = run_virtual(main())
    assert before <= 4
    assert after >= 10


def test_a_server_that_hangs_gets_no_more_requests() -> None:
    well, hanging = Server(), Server()
    hanging.hangs = True

    async def main() -> None:
        caller = Caller(routed(well, hanging))
        await caller.engine.start()
        tasks = []
        for i in range(60):
            tasks.append(asyncio.create_task(caller.ask(words(f"r{i}w", 100), max_tokens=2)))
            await asyncio.sleep(0.3)
        for task in tasks:
            task.cancel()

    run_virtual(main())
    assert len(hanging.seen) <= 6
    assert len(well.seen) >= 54


def test_load_of_other_clients_counts_and_is_asked_for_only_while_requests_run() -> None:
    busy, idle = LoadedServer(), LoadedServer()
    busy.others = EngineLoad(num_running=30, num_waiting=20, waiting_tokens=20_000)

    async def main() -> None:
        caller = Caller(routed(busy, idle))
        await caller.engine.start()
        await asyncio.gather(*(caller.ask(words(f"a{i}w", 50), max_tokens=2) for i in range(2)))
        for i in range(20):
            await caller.ask(words(f"r{i}w", 50), max_tokens=2)
        await asyncio.sleep(100.0)
        await caller.engine.close()

    run_virtual(main())
    assert len(busy.seen) <= 1
    assert 1 <= busy.num_polls <= 6


def test_a_reader_goes_where_its_context_was_warmed_up() -> None:
    servers = [Server() for _ in range(4)]

    async def main() -> Caller:
        caller = Caller(routed(*servers))
        await caller.engine.start()
        context = await caller.prefill("only ten tokens of a head that is short ", ahead=True)
        longer = await caller.prefill("and a tail ", context=context)
        for i in range(8):
            await caller.ask(f"{i}", context=longer, max_tokens=2)
        return caller

    run_virtual(main())
    assert sorted(len(server.seen) for server in servers) == [0, 0, 0, 9]


def test_a_prefill_of_the_clients_asks_no_server() -> None:
    servers = [Server(), Server()]

    async def main() -> None:
        caller = Caller(routed(*servers))
        await caller.engine.start()
        for server in servers:
            server.num_computed_tokens = 0
        context = await caller.prefill("a text")
        assert context.text == "a text"

    run_virtual(main())
    assert sum(server.num_computed_tokens for server in servers) == 0


def test_round_robin_takes_turns() -> None:
    servers = [Server() for _ in range(3)]

    async def main() -> None:
        caller = Caller(routed(*servers, routing="round_robin"))
        await caller.engine.start()
        for i in range(9):
            await caller.ask(f"text {i}", max_tokens=1)

    run_virtual(main())
    assert [len(server.seen) for server in servers] == [3, 3, 3]


VIEW = View(1000.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.001)


def test_each_term_of_the_prediction_can_be_switched_off() -> None:
    view = replace(VIEW, cached_tokens=600.0, queued_tokens=300.0, num_running=10.0)
    assert predicted_s(view, Terms(load=False)) == pytest.approx(0.7)
    assert predicted_s(view, Terms(prefix=False, load=False)) == pytest.approx(1.3)
    assert predicted_s(view, Terms(queue=False, load=False)) == pytest.approx(0.4)
    assert predicted_s(view, Terms()) == pytest.approx(0.86)
    fuller = replace(view, kv_usage=0.9)
    assert predicted_s(fuller, Terms()) > predicted_s(view, Terms())


def test_e2_exploits_a_cache_of_half_the_prompt_and_explores_otherwise() -> None:
    half = replace(VIEW, cached_tokens=500.0, queued_tokens=900.0)
    less = replace(VIEW, cached_tokens=400.0, queued_tokens=900.0)
    assert exploit_or_explore([VIEW, half], 0)[0] == 1
    assert exploit_or_explore([VIEW, less], 0)[0] == 0
    hot = replace(half, queued_tokens=5000.0)
    assert exploit_or_explore([VIEW, hot], 0)[0] == 0


def test_no_server_gets_more_than_its_slots_and_the_rest_waits_for_any() -> None:
    servers = [Server(num_slots=4, prefill_token_s=0.0), Server(num_slots=4, prefill_token_s=0.0)]

    async def main() -> float:
        caller = Caller(routed(*servers))
        await caller.engine.start()
        asking = [asyncio.create_task(caller.ask(f"text {i}", max_tokens=3)) for i in range(40)]
        most = 0
        while not all(task.done() for task in asking):
            most = max(most, *(len(server._running) for server in servers))
            await asyncio.sleep(0.001)
        assert most == 4
        assert caller.num_failed == 0
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(40 / 8 * 0.03, abs=0.005)


def test_who_waits_for_a_slot_is_told_when_all_servers_die_and_leaves_no_hole_when_cancelled() -> (
    None
):
    servers = [Server(num_slots=2, token_s=1.0), Server(num_slots=2, token_s=1.0)]

    async def main() -> None:
        caller = Caller(routed(*servers))
        await caller.engine.start()
        asking = [asyncio.create_task(caller.ask(f"t {i}", max_tokens=3)) for i in range(20)]
        await asyncio.sleep(0.5)
        for task in asking[4:8]:
            task.cancel()
        await asyncio.sleep(4.0)  # the next four are running
        assert sum(len(server.seen) for server in servers) == 8
        for server in servers:
            server.kill()
        await asyncio.gather(*asking, return_exceptions=True)
        assert caller.num_failed == 12
        assert asyncio.get_running_loop().time() < 10.0

    run_virtual(main())


def test_caches_smaller_than_we_think_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.fake.prefix_cache.MAX_PROMPTS", 8)
    found = {name: run_sessions(name) for name in CHOICES}
    ours = found["predicted_ttft"]
    assert ours.cached_tokens >= 3 * found["round_robin"].cached_tokens
    assert ours.mean_first_s <= 0.75 * found["least_loaded"].mean_first_s
