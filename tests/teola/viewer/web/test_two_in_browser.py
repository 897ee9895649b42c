"""What a person sees of two traces beside each other."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import Page
from viewer_query import EVENTS, at, ran, write

from runtime.events import Event


def slower(event: Event) -> Event:
    """Twice as slow from 0.4 s on."""
    since = event.t - 100.4
    return replace(event, t=100.4 + 2 * since) if since > 0 else event


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """B is slower, searches only once, and has a primitive of its own."""
    kept = [slower(event) for event in EVENTS if not event.node.startswith("hits[1]")]
    more = ran("check", "decode", "llm", (1.6, 1.65, 1.75), 9, decode_tokens=7)
    events = sorted([*kept, *more, at(1.8, "done", status="ok")], key=lambda event: event.t)
    ended = [event for event in events if event.kind != "done" or event.t > 101.7]
    return write(tmp_path / "a.jsonl", EVENTS), write(tmp_path / "b.jsonl", ended)


def bars(page: Page, name: str) -> list[tuple[float, float] | None]:
    """Of A and of B: begin and length on the common axis, in shares of it."""
    script = f"""(() => {{
      const axis = document.getElementById('axis').getBoundingClientRect();
      const rows = [...document.querySelectorAll('.row.span')];
      const row = rows.find((each) => each.querySelector('bdi').textContent === {name!r});
      return [...row.querySelectorAll('.bars')].map((lane) => {{
        const bar = lane.querySelector('.run')?.getBoundingClientRect();
        return bar ? [(bar.x - axis.x) / axis.width, bar.width / axis.width] : null;
      }});
    }})()"""
    return list(page.run(script))


def test_both_bars_of_a_primitive_lie_in_one_row_on_one_time_scale(shown: Any, two: Any) -> None:
    page = shown(*two)
    answer = bars(page, "answer")

    assert answer[0] == pytest.approx((0.7 / 1.8, 0.28 / 1.8), abs=0.004)
    assert answer[1] == pytest.approx((1.0 / 1.8, 0.56 / 1.8), abs=0.004)
    first, second = page.boxes(".row.span .bars")[:2]
    assert second["y"] > first["y"]


def test_a_primitive_of_one_file_has_a_bar_there_only(shown: Any, two: Any) -> None:
    page = shown(*two)

    assert bars(page, "hits[1].search")[1] is None
    assert bars(page, "check")[0] is None
    assert bars(page, "check")[1] is not None


def test_totals_and_primitives_are_compared(shown: Any, two: Any) -> None:
    page = shown(*two)
    rows = [text.split("\t") for text in page.texts("#difference tbody tr")]
    by_name = {row[0]: row[1:] for row in rows}

    assert by_name["time"] == ["1.00 s", "1.80 s", "+800 ms", "1.80"]
    assert by_name["primitives"] == ["8", "7", "-1", "0.88"]
    assert by_name["generated tokens"] == ["42", "49", "+7", "1.17"]
    assert by_name["answer"] == [
        *("decode", "1", "1", "0 ms", "0 ms", "280 ms", "560 ms", "+280 ms", "30", "30")
    ]
    assert by_name["check"][1:3] == ["-", "1"]
    assert [row[0] for row in rows[11:13]] == ["answer", "check"]  # the largest differences first


def test_the_header_names_both_files(shown: Any, two: Any) -> None:
    header = shown(*two).text("header")

    assert header.index("a.jsonl") < header.index("b.jsonl")
    assert "A demo q1 ok" in header.replace("\n", " ")


def test_a_second_click_on_a_row_shows_the_other_file(shown: Any, two: Any) -> None:
    page = shown(*two)
    page.click(".row.span", "answer decode")
    assert "ran\n280 ms" in page.text("#details")
    page.click(".row.span", "answer decode")
    assert "ran\n560 ms" in page.text("#details")
    assert "B: demo q1" in page.text("#graph-about")


def test_the_path_and_the_graph_are_of_the_chosen_query(shown: Any, two: Any) -> None:
    page = shown(*two)
    page.run(
        "(() => { const box = document.getElementById('query'); box.value = '1';"
        "box.dispatchEvent(new Event('change')); })()"
    )

    assert page.texts("#path-table tbody tr")[-1].startswith("after the last")
    assert "check" in " ".join(page.texts("#picture .label"))
