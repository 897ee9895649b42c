"""What the scheduler of one engine does with jobs: batches, failures, loading, closing."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from backends.base import Outcome, Request, Result
from backends.errors import EngineBroken, EngineError, EngineUnavailable
from backends.fake.python import FakePython
from backends.fake.retrieval import FakeEmbedder
from backends.policy.fcfs import fcfs
from backends.policy.topology import topology
from runtime.clock import now, run_virtual
from runtime.cost.curves import Curve, Surface
from runtime.cost.latency import EngineLatency, LatencyModel
from runtime.engine_scheduler import MAX_STARTS, EngineScheduler
from runtime.hints import Hint
from runtime.job import Job, Started

HINT = Hint(0, 1.0)
SECOND_EACH = Surface.flat(Curve.line(0.0, 1.0))


class Asked:
    """Jobs of one scheduler, and what became of each by the name it was asked under."""

    def __init__(self, scheduler: EngineScheduler) -> None:
        self.scheduler = scheduler
        self.outcomes: dict[str, Outcome] = {}
        self.started: list[str] = []
        self._ended: dict[str, asyncio.Event] = {}

    def ask(self, name: str, request: Request | None = None, hint: Hint = HINT) -> Job:
        request = request or Request(f"{len(self._ended):032x}", "embed", (name,))
        self._ended[name] = asyncio.Event()

        def on_start(started: Started) -> None:
            self.started.append(name)

        def on_done(outcome: Outcome) -> None:
            assert name not in self.outcomes, "an outcome is given once"
            self.outcomes[name] = outcome
            self._ended[name].set()

        job = Job(request, "q1", hint, on_start, on_done)
        self.scheduler.submit(job)
        return job

    async def all_ended(self) -> None:
        await asyncio.gather(*(ended.wait() for ended in self._ended.values()))


def embedder(**options: Any) -> tuple[FakeEmbedder, Asked]:
    engine = FakeEmbedder("fake:", options)
    return engine, Asked(EngineScheduler("embedder", engine))


def texts(engine: FakeEmbedder) -> list[list[Any]]:
    return [[inputs[0] for _, inputs in batch] for batch in engine.journal]


def test_jobs_of_one_turn_of_the_loop_are_one_batch() -> None:
    engine, asked = embedder()

    async def main() -> None:
        asked.ask("a")
        asked.ask("b")
        await asked.all_ended()

    run_virtual(main())
    assert texts(engine) == [["a", "b"]]


def test_what_an_answer_leads_to_goes_with_all_else_of_its_turn() -> None:
    engine, asked = embedder(latency_s=1.0, max_batch_items=4)

    async def main() -> None:
        first = asked.ask("a")
        answer = first.on_done

        def on_done(outcome: Outcome) -> None:
            asked.ask("b")
            asyncio.get_running_loop().call_soon(asked.ask, "c")
            answer(outcome)

        first.on_done = on_done
        await asyncio.sleep(3.0)

    run_virtual(main())
    assert texts(engine) == [["a"], ["b", "c"]]


def test_many_batches_start_some_in_each_turn_of_the_loop() -> None:
    _, asked = embedder(latency_s=1.0, num_slots=1000, max_batch_items=1)

    async def main() -> list[int]:
        asked.ask("loads the engine")
        await asked.all_ended()
        for i in range(3 * MAX_STARTS):
            asked.ask(str(i))
        starts = [len(asked.started)]
        while starts[-1] < len(asked.outcomes) + 3 * MAX_STARTS:
            await asyncio.sleep(0)
            starts.append(len(asked.started))
        await asked.all_ended()
        assert now() == 2.0
        return [b - a for a, b in pairwise(starts)]

    assert max(run_virtual(main())) == MAX_STARTS


def test_cancelling_a_running_job_aborts_it_at_the_engine() -> None:
    engine, asked = embedder(latency_s=1.0)
    aborted: list[str] = []
    engine.abort = aborted.append  # type: ignore[method-assign]

    async def main() -> str:
        job = asked.ask("a")
        await asyncio.sleep(0.5)
        asked.scheduler.cancel(job)
        await asked.all_ended()
        return job.request.id

    assert aborted == [run_virtual(main())]


def test_a_cancelled_job_that_waits_never_reaches_the_engine() -> None:
    engine, asked = embedder(latency_s=1.0, max_batch_items=4)

    async def main() -> None:
        asked.ask("a")
        await asyncio.sleep(0.5)
        asked.ask("b")
        doomed = asked.ask("c")
        asked.ask("d")
        asked.scheduler.cancel(doomed)
        await asyncio.sleep(5.0)

    run_virtual(main())
    assert texts(engine) == [["a"], ["b", "d"]]
    assert sorted(asked.outcomes) == ["a", "b", "d"]


def test_a_callback_that_raises_leaves_the_jobs_that_wait_to_be_served() -> None:
    _, asked = embedder(latency_s=1.0, max_batch_items=1)

    async def main() -> None:
        def on_done(_: Outcome) -> None:
            raise RuntimeError("a defect of ours")

        asked.ask("a").on_done = on_done
        asked.ask("b")
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        await asyncio.sleep(5.0)

    run_virtual(main())
    assert sorted(asked.outcomes) == ["b"]


def slow_start(engine: FakeEmbedder, *failures: Exception) -> list[float]:
    """Loading takes a second and fails so often; when each attempt began."""
    attempts: list[float] = []

    async def start() -> None:
        attempts.append(now())
        await asyncio.sleep(1.0)
        if len(attempts) <= len(failures):
            raise failures[len(attempts) - 1]

    engine.start = start  # type: ignore[method-assign]
    return attempts


def test_a_slot_that_is_stopped_while_the_engine_loads_does_not_stop_the_loading() -> None:
    engine, asked = embedder(num_slots=2, max_batch_items=1)
    attempts = slow_start(engine)

    async def main() -> None:
        asked.ask("a")
        asked.ask("b")
        await asyncio.sleep(0.5)
        next(iter(asked.scheduler._slots)).cancel()
        await asked.all_ended()

    run_virtual(main())
    assert attempts == [0.0]
    kinds = [type(outcome) for outcome in asked.outcomes.values()]
    assert set(kinds) == {EngineUnavailable, Result}


def test_what_waits_behind_the_first_batches_is_told_how_long_the_engine_loaded_too() -> None:
    engine, asked = embedder(num_slots=1, max_batch_items=1, latency_s=2.0)
    slow_start(engine)
    load_s: list[float] = []

    async def main() -> None:
        for at_s, name in ((0.0, "a"), (0.4, "b"), (1.5, "after it")):
            await asyncio.sleep(at_s - now())
            asked.ask(name).on_start = lambda started: load_s.append(started.load_s)
        await asked.all_ended()

    run_virtual(main())
    assert load_s == [1.0, pytest.approx(0.6), 0.0]


def test_an_engine_that_failed_to_load_is_loaded_again_for_the_next_job() -> None:
    engine, asked = embedder()
    attempts = slow_start(engine, EngineUnavailable("no weights"))

    async def main() -> None:
        asked.ask("a")
        await asked.all_ended()
        asked.ask("b")
        await asked.all_ended()

    run_virtual(main())
    assert attempts == [0.0, 1.0]
    assert str(asked.outcomes["a"]) == "no weights"
    assert isinstance(asked.outcomes["b"], Result)


def test_a_job_cancelled_while_the_engine_loads_is_never_heard_of_again() -> None:
    engine, asked = embedder()
    slow_start(engine)

    async def main() -> None:
        doomed = asked.ask("a")
        asked.ask("b")
        await asyncio.sleep(0.5)
        asked.scheduler.cancel(doomed)
        await asyncio.sleep(5.0)
        await asked.scheduler.close()

    run_virtual(main())
    assert texts(engine) == [["b"]]
    assert asked.started == list(asked.outcomes) == ["b"]


@pytest.mark.parametrize("error", [ValueError("a bad value"), EngineError("out of memory")])
def test_errors_that_are_written_for_people_reach_the_query_as_they_are(error: Exception) -> None:
    assert outcome_of_a_batch_that_raises(error) is error


def test_what_else_an_engine_raises_is_an_engine_error_that_names_engine_and_cause() -> None:
    cause = ZeroDivisionError("division by zero")
    outcome = outcome_of_a_batch_that_raises(cause)
    assert type(outcome) is EngineBroken
    assert str(outcome) == "engine 'embedder' broke: ZeroDivisionError: division by zero"
    assert outcome.__cause__ is cause


def test_what_is_cancelled_inside_an_engine_is_no_engine_that_was_closed() -> None:
    outcome = outcome_of_a_batch_that_raises(asyncio.CancelledError())
    assert type(outcome) is EngineBroken
    assert "CancelledError" in str(outcome)


def outcome_of_a_batch_that_raises(error: BaseException) -> Outcome:
    engine, asked = embedder()

    async def execute(requests: Sequence[Request]) -> list[Outcome]:
        raise error

    engine.execute = execute  # type: ignore[method-assign]

    async def main() -> None:
        asked.ask("a")
        await asked.all_ended()

    run_virtual(main())
    return asked.outcomes["a"]


def test_a_batch_that_overlapped_the_end_of_another_teaches_nothing() -> None:
    """a: 0 to 2 s, alone when it starts; b: 1 to 3 s, alone when it ends."""
    latency = EngineLatency(LatencyModel({"embed": SECOND_EACH}))
    engine = FakeEmbedder("fake:", {"latency_s": 2.0, "num_slots": 2, "max_batch_items": 1})
    asked = Asked(EngineScheduler("embedder", engine, latency=latency))

    async def main() -> None:
        asked.ask("a")
        await asyncio.sleep(1.0)
        asked.ask("b")
        await asked.all_ended()

    run_virtual(main())
    assert latency.correction("embed") == 1.0


def test_calls_of_tools_teach_the_latency_also_side_by_side() -> None:
    latency = EngineLatency(LatencyModel({"call": SECOND_EACH}))
    engine = FakePython("fake:", {"latency_s": 2.0, "num_slots": 2, "max_batch_items": 1})
    asked = Asked(EngineScheduler("python", engine, latency=latency))

    async def main() -> None:
        for i in range(2):
            asked.ask(str(i), Request(f"{i:032x}", "call", (i,), {"fn": str}))
        await asked.all_ended()

    run_virtual(main())
    assert latency.correction("call:str") > 1.0


def test_closing_ends_what_runs_and_what_waits_with_an_error() -> None:
    engine, asked = embedder(latency_s=1.0, max_batch_items=1)

    async def main() -> None:
        for name in "abc":
            asked.ask(name)
        await asyncio.sleep(0.5)
        await asked.scheduler.close()
        assert now() == 0.5

    run_virtual(main())
    assert texts(engine) == [["a"]]
    assert {str(outcome) for outcome in asked.outcomes.values()} == {"engine 'embedder' was closed"}
    assert len(asked.outcomes) == 3


def test_closing_in_the_turn_in_which_a_batch_was_formed_ends_it_too() -> None:
    _, asked = embedder()

    async def main() -> None:
        asked.ask("a")
        await asyncio.sleep(0)
        await asked.scheduler.close()

    run_virtual(main())
    assert isinstance(asked.outcomes["a"], EngineUnavailable)


def test_another_policy_orders_what_waits_from_the_next_batch_on() -> None:
    engine, asked = embedder(latency_s=1.0, max_batch_items=1)
    asked.scheduler.set_policy(fcfs)

    async def main() -> None:
        for depth, name in enumerate("abcd"):
            asked.ask(name, hint=Hint(depth, 1.0))
        await asyncio.sleep(0.5)
        asked.scheduler.set_policy(topology)
        await asked.all_ended()

    run_virtual(main())
    assert texts(engine) == [["a"], ["d"], ["c"], ["b"]]


def test_who_breaks_at_an_outcome_harms_no_other_job_nor_the_slot() -> None:
    _, asked = embedder()
    said: list[str] = []

    def broken(outcome: Outcome) -> None:
        raise LookupError("nobody is there")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, told: said.append(f"{told['message']}: {told['exception']}")
        )
        asked.scheduler.submit(Job(Request("f" * 32, "embed", ("x",)), "q1", HINT, print, broken))
        asked.ask("a")
        await asked.all_ended()
        asked.ask("b")
        await asked.all_ended()
        assert asked.scheduler.num_jobs == 0

    run_virtual(main())
    assert said == ["the outcome of embed was not taken: nobody is there"]
    assert all(isinstance(outcome, Result) for outcome in asked.outcomes.values())
