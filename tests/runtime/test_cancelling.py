"""A query cancelled at any of its events leaves nothing: no request, no context, no task."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from backends.documents import Doc
from backends.fake.engine import FakeEngine
from runtime.clock import run_virtual
from runtime.errors import QueryCancelled
from runtime.events import Event

Worlds = Callable[..., Any]

APP = """\
graph g {
  %docs = input [type="list[Doc]"]
  %qs = input [type="list[str]"]
  %v = embed ~%docs [engine="embedder"]
  %i = ingest %docs %v [engine="store"]
  %c0 = context [engine="llm"]
  %head = prefill %c0 @user "Say" [engine="llm"]
  %m = map %qs %head %i {
    %q = input [type="str"]
    %h = input [type="context"]
    %index = input [type="Index"]
    %c1 = prefill %h %q @assistant [engine="llm"]
    %text, %c2 = decode %c1 [engine="llm"]
    %hits = search %index %text null [engine="store", k=1, mode="bm25"]
    %safe = attempt null %hits {
      %none = input [type="Exception"]
      %found = input [type="list[Doc]"]
      %t = call %found [engine="tools", fn="use", retries=1, timeout_s=0.25]
      return %t
    } else {
      %error = input [type="Exception"]
      %found = input [type="list[Doc]"]
      %t = format %error
      return %t
    }
    return %safe
  }
  %race = first null %m %head {
    %ts = input [type="list[str]"]
    %h = input [type="context"]
    %c1 = prefill %h %ts @assistant [engine="llm"]
    %text, %c2 = decode %c1 [engine="llm"]
    return %text
  } else {
    %ts = input [type="list[str]"]
    %h = input [type="context"]
    %t = call %ts [engine="python", fn="last", pure=true]
    return %t
  }
  return %race
}"""
OPTIONS: dict[str, Any] = {
    "llm": {"token_s": 0.1, "prefill_token_s": 0.1, "replies": {"Say": "one two"}},
    "embedder": {"latency_s": 0.1, "max_batch_items": 1},
    "store": {"latency_s": 0.1},
    "tools": {"latency_s": 0.2},
    "python": {"latency_s": 0.1},
}
INPUTS = {"docs": [Doc("one"), Doc("two")], "qs": ["a", "b"]}


class Uses:
    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(self, hits: object) -> str:
        self.num_calls += 1
        if self.num_calls == 1:
            raise ConnectionError("try again")
        return "used"


def symbols() -> dict[str, Any]:
    return {"use": Uses(), "last": lambda texts: ", ".join(texts)}


def engines_of(world: Any) -> list[FakeEngine]:
    names = ("llm", "embedder", "store", "tools", "python")
    return [world.runtime.scheduler(name, world.specs[name]).engine for name in names]


class CancelAt:
    """Cancels a task at the event of a number."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.task: asyncio.Task[Any] | None = None
        self.was_running: set[str] = set()
        self.engines: list[FakeEngine] = []
        self.aborted: set[str] = set()

    def __call__(self, event: Event) -> None:
        self.number -= 1
        if self.number == 0 and self.task is not None:
            self.task.cancel()
            asyncio.get_running_loop().call_soon(self._look)

    def watch(self, engines: list[FakeEngine]) -> None:
        self.engines = engines
        for engine in engines:
            engine.abort = self._abort_of(engine.abort)  # type: ignore[method-assign]

    def _look(self) -> None:  # before the cancelled task runs
        self.was_running = {one for engine in self.engines for one in engine._running}

    def _abort_of(self, abort: Callable[[str], None]) -> Callable[[str], None]:
        def aborting(request_id: str) -> None:
            self.aborted.add(request_id)
            abort(request_id)

        return aborting


async def run_once(world: Any, cancel: CancelAt, app: str = APP) -> tuple[bool, list[Event]]:
    """Whether it was cancelled, and its events; then all engines get time to end their work."""
    engines = engines_of(world)
    cancel.watch(engines)
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        cancel(event)

    world.log = listen
    cancel.task = asyncio.ensure_future(world.run(app, INPUTS, symbols()))
    try:
        assert await cancel.task == ["used, used"]
        is_cancelled = False
    except asyncio.CancelledError:
        is_cancelled = True
    await asyncio.sleep(10)
    assert not any(engine._running for engine in engines)
    await world.runtime.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return is_cancelled, events


LONG = "Say what you see. " * 20
KINDS = {  # of the model's engine: its options, and the app as it runs there
    "embedded": ({}, APP),
    "warmed": (
        {"capabilities": "sglang", "prefill_token_s": 0.001},
        APP.replace('"Say" [engine', f'"{LONG}" [ahead=true, engine'),
    ),
    "whole-prompts": (
        {"capabilities": "api"},
        APP.replace('%c1 = prefill %h %q @assistant [engine="llm"]\n', "").replace(
            '%text, %c2 = decode %c1 [engine="llm"]\n    %hits',
            '%text = generate "Say" %q [engine="llm"]\n    %hits',
        ),
    ),
}


def test_the_app_runs_to_its_end_when_nobody_cancels_it(world: Worlds) -> None:
    w = world(**OPTIONS)
    is_cancelled, events = run_virtual(run_once(w, CancelAt(0)))
    assert not is_cancelled
    assert {"retry", "first_token", "text"} <= {event.kind for event in events}
    assert w.num_live_contexts == 0


@pytest.mark.parametrize("kind", KINDS)
def test_cancelled_at_any_event_it_aborts_what_runs_and_frees_what_comes_late(
    world: Worlds, kind: str
) -> None:
    model, app = KINDS[kind]
    options = {**OPTIONS, "llm": {**OPTIONS["llm"], **model}}
    _, events = run_virtual(run_once(world(**options), CancelAt(0), app))
    running = 0
    for number in range(1, len(events)):
        w, cancel = world(**options), CancelAt(number)
        is_cancelled, seen = run_virtual(run_once(w, cancel, app))
        assert is_cancelled, number
        is_last_turn = seen[-1].t == events[number - 1].t == events[-1].t
        assert is_last_turn or seen[-1].fields["status"] == QueryCancelled.__name__, number
        assert cancel.was_running <= cancel.aborted, number
        assert w.num_live_contexts == 0, number
        running += len(cancel.was_running)
    assert running > len(events) / 2
