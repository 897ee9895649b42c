"""What the default policy does for queries, against others, in virtual time."""

import asyncio
from collections.abc import Callable
from textwrap import dedent
from typing import Any

from backends.policy.application_aware import application_aware
from backends.policy.base import Policy
from backends.policy.fcfs import fcfs
from backends.policy.topology import topology
from graph_opt.graph import Node
from runtime.clock import now, run_virtual

Worlds = Callable[..., Any]


async def seconds(run: Any) -> float:
    await run
    return now()


def finish_times(world: Any, *runs: Callable[[], Any]) -> list[float]:
    """When each query ends; all start at 0."""

    async def main() -> list[float]:
        return await asyncio.gather(*(seconds(run()) for run in runs))

    return run_virtual(main())


# x -- embed short -- call d1 -- call d2 ---- (0.1 + 0.2 s of tools)
# x -- embed long --- decode ---------------- (1 s of an LLM)
#  both embeds at one engine, one at a time
BRANCHES = """\
graph g {
  %short = embed "x" [engine="embedder"]
  %long = embed "y" [engine="embedder"]
  %d1 = call %short [engine="tools", fn="f"]
  %d2 = call %d1 [engine="tools", fn="f"]
  %c0 = context [engine="llm"] after %long
  %c1 = prefill %c0 "Say" [engine="llm"]
  %t, %c2 = decode %c1 [engine="llm"]
  %all = pack %d2 %t
  return %all
}"""


class Known:
    def seconds(self, node: Node) -> float:
        return {"embed": 0.1, "call": 0.1, "decode": 1.0}.get(node.op, 0.0)


def branches_s(world: Worlds, policy: Policy) -> float:
    w = world(
        policy,
        embedder={"latency_s": 0.1, "max_batch_items": 1},
        tools={"latency_s": 0.1},
        llm={"token_s": 0.25, "replies": {"Say": "one two three four"}},
    )
    symbols = {"f": lambda x: x}
    (ended,) = finish_times(w, lambda: w.run(BRANCHES, symbols=symbols, cost=Known()))
    return round(ended, 6)


def test_the_job_on_the_critical_path_goes_first_and_the_query_ends_sooner(world: Worlds) -> None:
    assert branches_s(world, application_aware) == 1.1
    assert branches_s(world, fcfs) == 1.2
    assert branches_s(world, topology) == 1.2  # as many primitives on both ways


GROUP = """\
graph g {
  %xs = input [type="list[str]"]
  %m = map %xs {
    %x = input [type="str"]
    %v = embed %x [engine="embedder"]
    return %v
  }
  return %m
}"""


def test_a_group_ends_together_before_the_group_of_another_query_begins(world: Worlds) -> None:
    def ends(policy: Policy) -> list[float]:
        w = world(policy, embedder={"latency_s": 1.0, "max_batch_items": 2})
        run = lambda: w.run(GROUP, {"xs": ["a", "b", "c", "d"]})  # noqa: E731
        return finish_times(w, run, run)

    assert ends(application_aware) == [2.0, 4.0]
    assert ends(topology) == [4.0, 4.0]  # the members of both take turns


ONE = """\
graph g {
  %v = embed "x" [engine="embedder"]
  return %v
}"""


def test_work_in_bulk_fills_its_batches_and_never_makes_an_urgent_one_longer(world: Worlds) -> None:
    w = world(embedder={"item_s": 0.1, "max_batch_items": 4})

    def bulk() -> Any:
        return w.run(GROUP, {"xs": ["a", "b", "c", "d", "e"]}, objective="throughput")

    ends = finish_times(w, bulk, lambda: w.run(ONE), lambda: w.run(ONE))
    assert [round(end, 6) for end in ends] == [0.7, 0.2, 0.2]
    assert w.log.batches() == dedent("""\
        0.000 embedder embed q2.v q3.v
        0.200 embedder embed q1.m[0].v q1.m[1].v q1.m[2].v q1.m[3].v
        0.600 embedder embed q1.m[4].v""")


def test_inside_the_engine_too_work_in_bulk_comes_after_the_rest(world: Worlds) -> None:
    w = world()
    engine = w.runtime.scheduler("embedder", w.specs["embedder"]).engine
    seen: list[int] = []
    execute = engine.execute

    async def spy(requests: Any) -> Any:
        seen.extend(request.priority for request in requests)
        return await execute(requests)

    engine.execute = spy
    finish_times(w, lambda: w.run(ONE), lambda: w.run(ONE, objective="throughput"))
    assert seen == [0, -1]


def test_a_backlog_in_bulk_never_comes_before_those_who_wait(world: Worlds) -> None:
    """100 bulk queries of 0.2 s; after 12 s, when the first have fallen due, one that waits."""
    w = world(embedder={"latency_s": 0.2, "max_batch_items": 1})

    async def late() -> float:
        await asyncio.sleep(12.05)
        return await seconds(w.run(ONE)) - 12.05

    async def main() -> tuple[float, list[float]]:
        bulk = [seconds(w.run(ONE, objective="throughput")) for _ in range(100)]
        waited, *ends = await asyncio.gather(late(), *bulk)
        return waited, ends

    waited, ends = run_virtual(main())
    assert waited < 0.2 * 4  # what runs, those that fell due, and itself
    assert max(ends) < 0.2 * 102
