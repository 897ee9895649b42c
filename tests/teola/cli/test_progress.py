import io
from typing import Any

import pytest
from rich.console import Console

from runtime.events import Event
from teola.cli import progress as module
from teola.cli.progress import Progress
from teola.viewer.runs import RunBuilder


def shown(monkeypatch: pytest.MonkeyPatch, *events: Event, pieces: int = 0) -> str:
    monkeypatch.setattr(module, "_FIRST_AFTER_S", 0.0)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system=None, width=80, markup=False)
    builder = RunBuilder()
    for event in (Event(0.0, "query", "q"), *events):
        builder(event)
    with Progress(console, builder) as progress:
        for _ in range(pieces):
            progress.count_text(events[-1])
        progress.refresh()
    return stream.getvalue()


def ready(node: str, op: str, **fields: Any) -> Event:
    return Event(1.0, "ready", "q", node, op, {"engine": "llm", "items": 1, **fields})


def test_waiting_and_running_primitives_of_a_call_share_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Event(1.0, "start", "q", "hits[0].v", "embed", {"batch": 0, "batch_size": 1})
    text = shown(
        monkeypatch,
        ready("hits[0].v", "embed", engine="embedder"),
        running,
        ready("hits[1].v", "embed", engine="embedder"),
    )

    assert "hits[].v  embed  embedder  1 running, 1 waiting, 2 items" in text


def test_the_tokens_of_a_decode_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "7 tokens" in shown(monkeypatch, ready("answer", "decode"), pieces=7)


def test_what_has_ended_is_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, ready("a", "prefill"), Event(2.0, "end", "q", "a", "prefill"))

    assert "1 primitive done" in text
    assert "prefill" not in text


def test_many_calls_are_cut_to_a_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, *(ready(f"call_{i}", "prefill") for i in range(12)))

    assert "and 4 more" in text


def test_a_quick_run_shows_nothing() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True)
    with Progress(console, RunBuilder()) as progress:
        progress.refresh()

    assert stream.getvalue() == ""
