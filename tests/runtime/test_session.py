"""The session: order, failures and contexts of segments, on scripted programs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest

from graph_opt.graph import Graph
from graph_opt.text import parse
from runtime.clock import run_virtual
from runtime.errors import (
    FailedInput,
    NodeFailed,
    QueryCancelled,
    QueryTimeout,
    failure_of,
    renewed,
)
from runtime.outputs import Outputs
from runtime.session import Session

PURE = '%x = call [engine="python", fn="f", pure=true]'
READ = '%x = call [engine="python", fn="f", pure=true, reads=true]'
WRITE = '%x = call [engine="python", fn="f"]'


@dataclass(frozen=True, slots=True)
class Script:
    """A program that takes `seconds`, then gives `gives` or raises."""

    name: str
    kind: str
    seconds: float = 0.0
    gives: Any = "value"
    error: Exception | None = None
    heard: list[Any] = field(default_factory=list)  # gets the inputs

    @property
    def graph(self) -> Graph:
        return parse(f"graph {self.name} {{\n{self.kind}\nreturn %x\n}}")


@dataclass(slots=True, eq=False)
class Context:
    """A context that counts its releases."""

    num_tokens: int = 0
    releases: list[str] = field(default_factory=list)

    def release(self) -> None:
        self.releases.append("released")


def failed(name: str) -> NodeFailed:
    return NodeFailed(name, "app.py:1", ValueError(name))


def lost(error: Any, outputs: Outputs) -> Any:
    """Tell that an effect did not happen."""
    assert outputs.on_effect_error is not None
    outputs.on_effect_error(error)
    return error


def run_session(
    body: Callable[[Session], Awaitable[Any]],
    *,
    is_plain: bool = False,
    timeout_s: float | None = None,
) -> tuple[Any, list[str]]:
    """What a session gives in virtual time, or its error, and the log of its segments."""
    log: list[str] = []

    async def start(script: Script, inputs: Mapping[str, Any], outputs: Outputs) -> None:
        if script.kind == WRITE and outputs.failed_before is not None:
            error = lost(renewed(outputs.failed_before), outputs)
            await asyncio.sleep(0)
            raise error
        log.append(f"{script.name} begins")
        script.heard.extend(inputs.items())
        await asyncio.sleep(script.seconds)
        if script.error is not None:
            log.append(f"{script.name} fails")
            if script.kind == WRITE:
                lost(script.error, outputs)
                await asyncio.sleep(0)
            raise script.error
        log.append(f"{script.name} ends")
        outputs.on_value("x", script.gives)
        await asyncio.sleep(0)  # like the engines' loop: told before it ends

    def release(context: Any) -> "Future[None]":
        context.release()
        done: Future[None] = Future()
        done.set_result(None)
        return done

    async def main() -> Any:
        session = Session("app", start, release, is_plain=is_plain)
        try:
            return await session.run(body, timeout_s)
        except Exception as error:
            return error

    return run_virtual(main()), log


def issue(session: Session, script: Script, **inputs: Any) -> Any:
    return session.issue(script, inputs)["x"]


def test_a_value_comes_from_its_segment() -> None:
    async def body(session: Session) -> Any:
        return await issue(session, Script("a", PURE, gives=7)).get()

    assert run_session(body)[0] == 7


def test_pure_segments_run_side_by_side() -> None:
    async def body(session: Session) -> None:
        first, second = issue(session, Script("a", PURE, 1)), issue(session, Script("b", PURE, 1))
        await first.get()
        await second.get()

    assert run_session(body)[1] == ["a begins", "b begins", "a ends", "b ends"]


def test_a_plain_session_runs_one_segment_after_another() -> None:
    async def body(session: Session) -> None:
        first, second = issue(session, Script("a", PURE, 1)), issue(session, Script("b", PURE))
        await second.get()
        await first.get()

    assert run_session(body, is_plain=True)[1] == ["a begins", "a ends", "b begins", "b ends"]


def test_a_read_waits_for_the_write_before_it() -> None:
    async def body(session: Session) -> None:
        issue(session, Script("write", WRITE, 1))
        await issue(session, Script("read", READ)).get()

    log = run_session(body)[1]
    assert log == ["write begins", "write ends", "read begins", "read ends"]


def test_a_read_waits_for_no_other_read() -> None:
    async def body(session: Session) -> None:
        first = issue(session, Script("a", READ, 1))
        await issue(session, Script("b", READ)).get()
        await first.get()

    assert run_session(body)[1] == ["a begins", "b begins", "b ends", "a ends"]


def test_a_write_waits_for_all_before_it() -> None:
    async def body(session: Session) -> None:
        issue(session, Script("pure", PURE, 1))
        issue(session, Script("write", WRITE))

    log = run_session(body)[1]
    assert log == ["pure begins", "pure ends", "write begins", "write ends"]


def test_a_write_does_not_happen_after_a_failure_that_the_app_was_not_told() -> None:
    async def body(session: Session) -> None:
        issue(session, Script("pure", PURE, 1, error=failed("guard")))
        issue(session, Script("write", WRITE))

    error, log = run_session(body)
    assert isinstance(error, NodeFailed)
    assert error.node == "guard"
    assert log == ["pure begins", "pure fails"]


def test_a_write_happens_after_a_failure_that_the_app_was_told() -> None:
    async def body(session: Session) -> str:
        with pytest.raises(ValueError, match="guard"):
            await issue(session, Script("pure", PURE, 1, error=failed("guard"))).get()
        issue(session, Script("write", WRITE))
        return "went on"

    result, log = run_session(body)
    assert result == "went on"
    assert log == ["pure begins", "pure fails", "write begins", "write ends"]


def test_the_app_must_know_of_a_failure_when_it_issues_the_write() -> None:
    async def body(session: Session) -> None:
        guard = issue(session, Script("pure", PURE, 1, error=failed("guard")))
        issue(session, Script("write", WRITE))
        with pytest.raises(ValueError, match="guard"):
            await guard.get()

    error, log = run_session(body)
    assert isinstance(error, NodeFailed)  # since the write did not happen
    assert log == ["pure begins", "pure fails"]


def test_the_session_waits_for_writes_that_nobody_awaits() -> None:
    async def body(session: Session) -> str:
        issue(session, Script("write", WRITE, 5))
        return "done"

    assert run_session(body) == ("done", ["write begins", "write ends"])


def test_a_write_that_fails_unseen_is_the_outcome() -> None:
    async def body(session: Session) -> str:
        issue(session, Script("write", WRITE, 5, error=failed("write")))
        return "done"

    error, _ = run_session(body)
    assert isinstance(error, NodeFailed)
    assert error.node == "write"


def test_the_first_unseen_failure_in_program_order_is_the_outcome() -> None:
    async def body(session: Session) -> None:
        issue(session, Script("a", WRITE, 5, error=failed("a")))
        issue(session, Script("b", WRITE, 1, error=failed("b")))
        raise KeyError("after both")

    error, log = run_session(body)
    assert isinstance(error, NodeFailed)
    assert error.node == "a"
    assert log == ["a begins", "a fails"]


def test_a_failure_that_the_app_was_told_is_not_raised_again() -> None:
    async def body(session: Session) -> str:
        write = issue(session, Script("write", WRITE, error=failed("write")))
        with pytest.raises(ValueError, match="write"):
            await write.get()
        return "handled"

    assert run_session(body)[0] == "handled"


def test_a_failed_write_is_not_forgotten_while_the_app_goes_on() -> None:
    async def body(session: Session) -> str:
        issue(session, Script("write", WRITE, error=failed("write")))
        await asyncio.sleep(1)
        await issue(session, Script("more", PURE)).get()
        return "done"

    error, _ = run_session(body)
    assert isinstance(error, NodeFailed)
    assert error.node == "write"


def test_a_context_that_comes_after_the_end_is_released() -> None:
    context, held = Context(), []

    async def body(session: Session) -> None:
        held.append(issue(session, Script("slow", PURE, 99)))
        await asyncio.sleep(1)

    run_session(body)
    held[0].settle(context)
    assert context.releases == ["released"]


def test_pure_work_that_nobody_awaits_is_cancelled_and_its_failure_is_nobodys() -> None:
    async def body(session: Session) -> str:
        issue(session, Script("slow", PURE, 99))
        issue(session, Script("bad", PURE, 1, error=failed("bad")))
        await asyncio.sleep(2)
        return "done"

    assert run_session(body) == ("done", ["slow begins", "bad begins", "bad fails"])


def test_an_exception_of_the_app_waits_for_the_effects_before_it() -> None:
    async def body(session: Session) -> None:
        issue(session, Script("write", WRITE, 5))
        raise KeyError("mine")

    error, log = run_session(body)
    assert isinstance(error, KeyError)
    assert log == ["write begins", "write ends"]


def test_a_tools_exception_is_raised_itself_inside_and_as_a_failed_node_outside() -> None:
    cause = ValueError("bad input")

    async def body(session: Session) -> None:
        failing = Script("a", PURE, error=NodeFailed("check", "app.py:7", cause))
        with pytest.raises(ValueError, match="bad input") as caught:
            await issue(session, failing).get()
        assert caught.value is cause
        assert cause.__notes__ == ["raised by %check (app.py:7)"]
        found = failure_of(cause)
        assert found is not None
        assert found.node == "check"
        raise cause

    error, _ = run_session(body)
    assert isinstance(error, NodeFailed)
    assert error.cause is cause
    assert error.__cause__ is cause


def test_an_exception_seen_twice_has_one_note() -> None:
    async def body(session: Session) -> list[str]:
        pending = issue(session, Script("a", PURE, error=failed("a")))
        for _ in range(2):
            with pytest.raises(ValueError, match="a") as caught:
                await pending.get()
        return caught.value.__notes__

    assert run_session(body)[0] == ["raised by %a (app.py:1)"]


def test_a_segment_waits_for_the_values_it_takes() -> None:
    async def body(session: Session) -> None:
        first = issue(session, Script("a", PURE, 1))
        await issue(session, Script("b", PURE), given=first).get()

    assert run_session(body)[1] == ["a begins", "a ends", "b begins", "b ends"]


def test_a_segment_gets_the_failure_of_a_value_as_its_input() -> None:
    got: list[Any] = []

    async def body(session: Session) -> Any:
        bad = issue(session, Script("bad", PURE, error=failed("bad")))
        good = issue(session, Script("good", PURE, gives=1))
        return await issue(session, Script("both", PURE, heard=got), a=bad, b=good).get()

    assert run_session(body)[0] == "value"
    ((_, a), (_, b)) = got
    assert isinstance(a, FailedInput)
    assert isinstance(a.error, NodeFailed)
    assert (a.error.node, b) == ("bad", 1)


def test_giving_up_on_an_await_leaves_the_value_to_others() -> None:
    async def body(session: Session) -> Any:
        pending = issue(session, Script("a", PURE, 2))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pending.get(), 1)
        return await pending.get()

    assert run_session(body)[0] == "value"


def test_a_timeout_is_the_typed_one_and_stops_the_segments() -> None:
    async def body(session: Session) -> Any:
        return await issue(session, Script("a", WRITE, 9)).get()

    error, log = run_session(body, timeout_s=2)
    assert isinstance(error, QueryTimeout)
    assert "app() did not finish within 2 s" in str(error)
    assert log == ["a begins"]


def test_a_timeout_of_the_apps_own_stays_its_own() -> None:
    async def body(session: Session) -> None:
        raise TimeoutError("mine")

    error, _ = run_session(body, timeout_s=2)
    assert type(error) is TimeoutError


def test_a_limit_on_a_part_cancels_what_that_part_issued() -> None:
    async def part(session: Session) -> Any:
        return await issue(session, Script("part", WRITE, 9)).get()

    async def body(session: Session) -> Any:
        outer = issue(session, Script("outer", PURE, 3))
        with pytest.raises(QueryTimeout, match=r"app part\(\) did not finish within 2 s"):
            await session.within("part", part(session), 2)
        issue(session, Script("after", WRITE))
        return await outer.get()

    result, log = run_session(body)
    assert result == "value"
    assert log == ["outer begins", "outer ends", "after begins", "after ends"]


def test_a_context_is_released_when_its_last_holder_is_gone() -> None:
    context = Context()

    async def body(session: Session) -> list[str]:
        pending = issue(session, Script("a", PURE, gives=context))
        await pending.get()
        await asyncio.sleep(1)
        assert context.releases == []
        later = issue(session, Script("b", PURE, 5), chat=pending)
        del pending
        await asyncio.sleep(1)
        assert context.releases == []  # the second segment reads it
        await later.get()
        await asyncio.sleep(0)
        return list(context.releases)

    assert run_session(body)[0] == ["released"]
    assert context.releases == ["released"]


def test_a_segment_holds_all_contexts_that_it_reads_until_it_ends_or_fails() -> None:
    contexts = [Context(), Context()]

    async def body(session: Session) -> None:
        first = issue(session, Script("a", PURE, gives=contexts[0]))
        second = issue(session, Script("b", PURE, gives=contexts[1]))
        later = issue(session, Script("c", PURE, 5, error=failed("c")), a=first, b=second)
        await first.get()
        await second.get()
        del first, second
        await asyncio.sleep(1)
        assert [context.releases for context in contexts] == [[], []]
        with pytest.raises(ValueError, match="c"):
            await later.get()
        await asyncio.sleep(0)
        assert [context.releases for context in contexts] == [["released"]] * 2

    assert run_session(body)[0] is None


def test_a_context_that_is_still_held_is_released_at_the_end() -> None:
    context = Context()
    kept = []

    async def body(session: Session) -> None:
        kept.append(issue(session, Script("a", PURE, gives=context)))
        await kept[0].get()
        assert context.releases == []

    run_session(body)
    assert context.releases == ["released"]


def test_two_values_that_are_one_context_release_it_once_both_are_gone() -> None:
    context = Context()

    async def body(session: Session) -> None:
        first = issue(session, Script("a", PURE, gives=context))
        second = issue(session, Script("b", PURE, gives=context))
        await first.get()
        await second.get()
        await asyncio.sleep(1)
        del first
        assert context.releases == []
        del second
        assert context.releases == ["released"]

    assert run_session(body)[0] is None


def test_a_task_that_outlives_the_app_starts_nothing() -> None:
    left: list[asyncio.Task[Any]] = []

    async def body(session: Session) -> None:
        async def later() -> Any:
            await asyncio.sleep(5)
            return issue(session, Script("late", PURE))

        left.append(asyncio.create_task(later()))

    async def start(*_: Any) -> None:
        raise AssertionError("nothing starts")

    async def main() -> None:
        await Session("app", start, lambda _: Future(), is_plain=False).run(body)
        with pytest.raises(QueryCancelled, match=r"app\(\) has ended"):
            await left[0]

    run_virtual(main())


def test_what_is_over_is_forgotten() -> None:
    async def body(session: Session) -> int:
        for i in range(50):
            gives = Context() if i % 2 else i
            await issue(session, Script(f"s{i}", WRITE, gives=gives)).get()
            await asyncio.sleep(0)
        return len(session._segments) + len(session._contexts) + len(session._releasing)

    assert run_session(body)[0] <= 5


def test_outputs_are_told_under_the_names_of_the_program() -> None:
    told: list[tuple[str, Any]] = []
    outputs = Outputs(lambda name, value: told.append((name, value)), final=("b",))
    merged = outputs.renamed(("a", "b"), ("same", "same"))
    merged.on_value("same", 1)
    assert told == [("a", 1), ("b", 1)]
    assert set(merged.final) == {"same"}
