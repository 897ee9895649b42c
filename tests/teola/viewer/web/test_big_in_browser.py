"""A trace of ten thousand primitives opens, scrolls and filters without a wait."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from viewer_query import EVENTS, ran, write

from runtime.events import Event
from teola.viewer.reading import read_trace_file
from teola.viewer.web.web_page import web_page

NUM_ITEMS = 5000


def searches() -> Iterator[list[Event]]:
    for item in range(NUM_ITEMS):
        begin = 0.41 + item // 16 * 0.01
        embedded = (0.41, begin, begin + 0.01)
        yield ran(f"hits[{item}].vector", "embed", "embedder", embedded, item // 16, batch_size=16)
        found = (begin + 0.01, begin + 0.01, begin + 0.02)
        yield ran(f"hits[{item}].search", "search", "store", found, item, num_items=1)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its last search ends at 3.55 s; the answer follows."""
    kept = [event for event in EVENTS if event.t <= 100.4 or event.kind == "done"]
    answer = ran("answer.prompt", "prefill", "llm", (3.6, 3.7, 3.8), 2, prefill_tokens=100)
    events = [*kept[:-1], *(event for each in searches() for event in each), *answer]
    events.sort(key=lambda event: event.t)
    trace = write(tmp_path_factory.mktemp("big") / "big.jsonl", [*events, kept[-1]])
    page = trace.with_suffix(".html")
    page.write_text(web_page([(trace.name, read_trace_file(trace))]))
    return page


def within(seconds: float, began: float) -> bool:
    return monotonic() - began < seconds


def test_ten_thousand_primitives_are_usable(shown: Any, big: Path) -> None:
    began = monotonic()
    page = shown(big)
    assert within(20, began)  # 0.3 s on an idle machine
    assert page.text("#found") == "10,003 primitives"
    assert page.run("document.querySelectorAll('*').length") < 3000

    began = monotonic()
    page.run("document.getElementById('rows').scrollTop = 1e9")
    page.wait_for(
        "[...document.querySelectorAll('.name bdi')].at(-1).textContent === 'answer.prompt'"
    )
    assert within(15, began)

    began = monotonic()
    page.click("#search")
    page.type("hits[4321]")
    assert page.text("#found").startswith("2 of 10,003 primitives")
    page.click(".row.span", "vector")
    assert "Batch 270 of embedder, with".upper() in page.text("#details").upper()
    assert "and 3 more" in page.text("#details")
    assert within(15, began)


def test_zooming_lists_what_ran_in_that_time(shown: Any, big: Path) -> None:
    page = shown(big)
    page.drag("#activity .lane", 0.9, 1.0)
    found = int(page.text("#found").split()[0].replace(",", ""))

    assert 0 < found < 9000
    axis = page.texts("#axis .tick")
    assert axis[0] == "3.5 s"


def test_its_graph_stays_small_and_shows_every_primitive_of_the_plan(shown: Any, big: Path) -> None:
    page = shown(big)

    assert page.texts("#picture .label") == [
        *("expand.prompt", "expand", "hits[].vector", "hits[].search", "answer.prompt")
    ]
    assert "embed ×5,000" in page.texts("#picture .sub")[2]


def test_an_engines_activity_shows_where_it_was_busy(shown: Any, big: Path) -> None:
    page = shown(big)
    path = page.run("document.querySelector('.activity.e1 .running').getAttribute('d')")
    points = [each.split() for each in path.removesuffix("L400 1Z").split("L")[1:]]
    busy = [int(x) for x, height in points if float(height) < 1]

    assert min(busy) / 400 == pytest.approx(0.41 / 3.8, abs=0.01)
    assert max(busy) / 400 == pytest.approx(3.54 / 3.8, abs=0.01)
