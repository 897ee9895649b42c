import io
from typing import Any

from teola.cli.live_run import Screen, run_app
from teola.cli.target import load_app
from teola.viewer.runs import RunBuilder


class Pieces(io.StringIO):
    """Keeps each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return len(text)


def test_the_answer_is_written_piece_by_piece(app_file: Any) -> None:
    out = Pieces()
    run_app(load_app(f"{app_file}:talk"), {"topic": "sea"}, Screen(RunBuilder(), out, None))

    assert out.pieces == ["one ", "two ", "three"]


def test_text_that_is_not_the_answer_is_not_written(app_file: Any) -> None:
    out = Pieces()
    run_app(load_app(f"{app_file}:total"), {"x": "1"}, Screen(RunBuilder(), out, None))

    assert out.pieces == []


def test_the_trace_is_complete_when_the_result_is_there(app_file: Any) -> None:
    builder = RunBuilder()
    result = run_app(load_app(f"{app_file}:talk"), {"topic": "x"}, Screen(builder, None, None))

    assert (result, builder.trace().status) == ("one two three", "ok")


def test_the_listener_of_the_app_is_still_told(app_file: Any) -> None:
    kinds: list[str] = []
    app = load_app(f"{app_file}:talk").using(listener=lambda event: kinds.append(event.kind))
    run_app(app, {"topic": "x"}, Screen(RunBuilder(), None, None))

    assert (kinds[0], kinds[-1]) == ("query", "done")
