"""Passes of a text model: who is in them, and what becomes of each request."""

import asyncio
import threading
from collections.abc import Sequence
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import EngineInfo, Outcome, Request, Result, Usage
from backends.bert.forward_passes import Job, Passes
from backends.errors import EngineError, EngineUnavailable, RequestRejected
from backends.text_engine import TextEngine


class Texts:
    """A request's inputs are texts of so many tokens; a text's value is itself, in capitals."""

    budget_tokens = 8

    def __init__(self) -> None:
        self.log: list[str] = []
        self.running = threading.Semaphore(1_000_000)

    def read(self, request: Request) -> Job[str, str]:
        if request.op != "read":
            raise RequestRejected("wrong")
        return Job(request, request.inputs, lambda values: Result((" ".join(values),)))

    def compute(self, texts: Sequence[str]) -> Sequence[str]:
        self.running.acquire()
        self.log.append(" ".join(texts))
        if "boom" in texts:
            raise MemoryError("too much")
        return [text.upper() for text in texts]


def read(name: str, *texts: str, priority: int = 0, op: str = "read") -> Request:
    return Request(name, op, texts, priority=priority)


def said(*texts: str) -> Result:
    """What comes of a request of these texts."""
    return Result((" ".join(texts).upper(),), Usage(prefill_tokens=sum(map(len, texts))))


def log_of(*arrivals: Sequence[Request]) -> str:
    """The passes, with the requests that came before each."""
    runner = Texts()
    passes = Passes(runner)
    for new in arrivals:
        passes.step(new)
    while not passes.is_idle:
        passes.step(())
    return "\n".join(runner.log)


def test_short_requests_share_a_pass_and_long_ones_are_cut() -> None:
    long = read("long", "aaa", "bbb", "ccc", "ddd")
    assert log_of([long, read("x", "x"), read("y", "yy")]) == dedent(
        """\
        x yy aaa
        bbb ccc
        ddd"""
    )


def test_who_comes_later_with_less_overtakes_but_for_one_text_a_pass() -> None:
    long = read("long", "aaa", "bbb", "ccc", "ddd", "eee")
    short = read("short", "11111", "2", "33")
    assert log_of([long], [short]) == dedent(
        """\
        aaa bbb
        11111 ccc
        2 33 ddd
        eee"""
    )


def test_equal_requests_end_one_after_another() -> None:
    first, second = read("a", "aaaa", "AAAA", "aaaa"), read("b", "bbbb", "BBBB", "bbbb")
    assert log_of([first, second]) == dedent(
        """\
        aaaa AAAA
        aaaa bbbb
        BBBB bbbb"""
    )


def test_work_in_bulk_has_the_room_that_is_left() -> None:
    bulk = read("bulk", "b", "bb", "bbb", priority=-1)
    urgent = read("urgent", "uuuu", "UUUU", "uuuu")
    assert log_of([urgent, bulk]) == dedent(
        """\
        uuuu UUUU
        uuuu b bb
        bbb"""
    )


def test_a_text_above_the_budget_runs_alone() -> None:
    assert log_of([read("a", "a" * 20, "b"), read("c", "c")]) == f"{'a' * 20}\nb c"


@given(
    st.lists(
        st.tuples(
            st.lists(st.text("x", min_size=0, max_size=12), max_size=6),
            st.integers(-1, 1),
            st.integers(0, 3),
        ),
        max_size=12,
    )
)
def test_every_text_is_computed_once_and_passes_keep_to_the_budget(
    requests: list[tuple[list[str], int, int]],
) -> None:
    runner = Texts()
    passes = Passes(runner)
    ended: list[tuple[Request, Outcome]] = []
    made = [
        (read(str(i), *(text + "abc"[i % 3] for text in texts), priority=priority), at)
        for i, (texts, priority, at) in enumerate(requests)
    ]
    for now in range(4):
        ended += passes.step([request for request, at in made if at == now])
    for _ in range(100):
        ended += passes.step(())
    assert passes.is_idle
    assert len(ended) == len(dict(ended)) == len(made)
    for request, outcome in ended:
        assert outcome == said(*request.inputs)
    assert sum(len(line.split()) for line in runner.log) == sum(len(r.inputs) for r, _ in made)
    for line in runner.log:
        texts = line.split()
        assert len(texts) == 1 or sum(map(len, texts)) <= max(8, len(texts[0]), 13)


def test_nobody_starves_behind_requests_that_keep_coming() -> None:
    runner = Texts()
    passes = Passes(runner)
    old = read("old", "oooo", "oooo", "oooo", priority=-1)
    ended = passes.step([old])
    for i in range(10):
        ended += passes.step([read(str(i), "xxxx", "xxxx")])
    assert old in dict(ended)


def test_a_wrong_request_and_a_broken_pass_fail_alone() -> None:
    passes = Passes(Texts())
    wrong, bad, good = read("w", op="no"), read("b", "boom", "x"), read("g", "gggggggg")
    outcomes = passes.run([wrong, bad, good, read("none")])
    assert isinstance(outcomes[0], RequestRejected)
    assert isinstance(outcomes[1], EngineError)
    assert str(outcomes[1]) == "the model broke: MemoryError: too much"
    assert outcomes[2:] == [said("GGGGGGGG"), said("")]


def test_an_aborted_request_is_in_no_further_pass() -> None:
    runner = Texts()
    passes = Passes(runner)
    request = read("a", "aaaaaa", "bbbbbb")
    assert passes.step([request]) == []
    ((aborted, outcome),) = passes.step((), {"a"})
    assert aborted is request
    assert isinstance(outcome, EngineError)
    assert passes.is_idle
    assert runner.log == ["aaaaaa"]


async def started(runner: Texts) -> TextEngine:
    engine = TextEngine(EngineInfo("embedder", "test", 256, 64), lambda: runner)
    await engine.start()
    return engine


def test_a_request_joins_the_next_pass_while_a_long_one_runs() -> None:
    async def main() -> None:
        runner = Texts()
        runner.running = threading.Semaphore(0)
        engine = await started(runner)
        long = asyncio.create_task(engine.execute([read("long", *["aaaa"] * 6)]))
        await asyncio.sleep(0)
        short = asyncio.create_task(engine.execute([read("short", "s")]))
        await asyncio.sleep(0)
        runner.running.release(2)
        assert await short == [said("S")]
        assert not long.done()
        runner.running.release(9)
        assert await long == [said(*["AAAA"] * 6)]
        assert runner.log[1] == "s aaaa"
        await engine.close()

    asyncio.run(main())


def test_a_cancelled_caller_and_an_abort_stop_their_requests() -> None:
    async def main() -> None:
        runner = Texts()
        runner.running = threading.Semaphore(0)
        engine = await started(runner)
        gone = asyncio.create_task(engine.execute([read("gone", *["aaaa"] * 6)]))
        other = asyncio.create_task(engine.execute([read("other", *["bbbb"] * 8)]))
        await asyncio.sleep(0)
        gone.cancel()
        engine.abort("other")
        engine.abort("never heard of")
        runner.running.release(9)
        (outcome,) = await other
        assert isinstance(outcome, EngineError)
        assert len(runner.log) <= 1
        assert await engine.execute([read("next", "n")]) == [said("N")]
        await engine.close()

    asyncio.run(main())


def test_what_waits_when_the_engine_closes_is_told() -> None:
    async def main() -> None:
        runner = Texts()
        runner.running = threading.Semaphore(0)
        engine = await started(runner)
        task = asyncio.create_task(engine.execute([read("a", "a")]))
        await asyncio.sleep(0)
        runner.running.release(1)
        closing = asyncio.create_task(engine.close())
        (outcome,) = await task
        assert isinstance(outcome, EngineUnavailable)
        await closing
        with pytest.raises(EngineUnavailable, match="not started"):
            await engine.execute([read("a", "a")])

    asyncio.run(main())


def test_a_request_that_is_under_way_is_not_taken_again() -> None:
    async def main() -> None:
        engine = await started(Texts())
        one, other = read("a", "a"), read("b", "b")
        first, second = await asyncio.gather(
            engine.execute([one]), engine.execute([one, other, other])
        )
        assert first == [said("A")]
        assert second[1] == said("B")
        for refused in (second[0], second[2]):
            assert isinstance(refused, RequestRejected)
            assert "is under way already" in str(refused)
        assert await engine.execute([one]) == [said("A")]
        await engine.close()

    asyncio.run(main())


def test_cancelling_who_was_refused_leaves_the_first_alone() -> None:
    async def main() -> None:
        runner = Texts()
        runner.running = threading.Semaphore(0)
        engine = await started(runner)
        one = read("a", "a")
        first = asyncio.create_task(engine.execute([one]))
        await asyncio.sleep(0)
        second = asyncio.create_task(engine.execute([one, read("b", "b")]))
        await asyncio.sleep(0)
        second.cancel()
        runner.running.release(9)
        assert await first == [said("A")]
        await engine.close()

    asyncio.run(main())


def test_when_the_passes_break_everybody_is_told_and_the_next_may_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("ours")

    async def main() -> None:
        engine = await started(Texts())
        with monkeypatch.context() as patch:
            patch.setattr("backends.bert.forward_passes.next_pass", broken)
            outcomes = await asyncio.gather(*(engine.execute([read(x, x)]) for x in "ab"))
        for (outcome,) in outcomes:
            assert isinstance(outcome, EngineError)
            assert str(outcome) == "the engine failed: KeyError: 'ours'"
        assert await engine.execute([read("c", "c")]) == [said("C")]
        await engine.close()

    asyncio.run(asyncio.wait_for(main(), 60))
