"""What a person sees of a trace's page, and can do there."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser import Page
from viewer_query import ABOUT, EVENTS, GRAPH, at, ran, write

from runtime.events import Event

EVIL = '</script><img src="http://127.0.0.1:9/x" onerror="document.title = 1"><b>bold</b>'


def sorted_by_time(*events: Event) -> list[Event]:
    return sorted(events, key=lambda event: event.t)


@pytest.fixture
def demo_file(tmp_path: Path) -> Path:
    return write(tmp_path / "demo.jsonl", EVENTS)


def bars_of(page: Page, name: str, kind: str = "run") -> tuple[float, float]:
    """Where the bar of a primitive is on the time axis: its begin and length in shares of that."""
    (box,) = [
        box
        for text, box in zip(page.texts(".row.span .name"), rows_of_bars(page, kind), strict=True)
        if text.startswith(name)
    ]
    assert box is not None, f"{name} has no bar"
    axis = page.boxes("#axis")[0]
    return (box["x"] - axis["x"]) / axis["width"], box["width"] / axis["width"]


def rows_of_bars(page: Page, kind: str) -> list[dict[str, float] | None]:
    script = f"""[...document.querySelectorAll('.row.span')].map((row) =>
        row.querySelector('.bar.{kind}')?.getBoundingClientRect().toJSON() ?? null)"""
    return list(page.run(script))


def names(page: Page) -> list[str]:
    return [text.replace("◆", "").strip() for text in page.texts(".row.span .name")]


def test_each_primitive_has_a_row_in_the_order_they_became_ready(
    shown: Any, demo_file: Path
) -> None:
    page = shown(demo_file)

    assert names(page) == [
        *("expand.prompt prefill", "expand decode"),
        *("hits[0].vector embed", "hits[1].vector embed"),
        *("hits[0].search search", "hits[1].search search"),
        *("answer.prompt prefill", "answer decode"),
    ]
    assert page.text("#found") == "8 primitives"


def test_a_row_says_how_long_it_waited_and_ran_and_what_it_did(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)
    rows = [re.split(r"\s*\n\s*", text.strip()) for text in page.texts(".row.span")]
    row = next(row for row in rows if "answer.prompt prefill" in row[0] or "answer.prompt" in row)

    assert row[-3:] == ["30.0 ms", "50.0 ms", "100 prefill 60 cached"]


def test_bars_lie_on_the_axis_where_their_times_are(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)

    assert bars_of(page, "◆expand decode") == pytest.approx((0.1, 0.3), abs=0.004)
    assert bars_of(page, "◆answer decode") == pytest.approx((0.7, 0.28), abs=0.004)
    assert bars_of(page, "◆hits[1].search") == pytest.approx((0.6, 0.02), abs=0.004)
    assert bars_of(page, "◆hits[1].search", "wait") == pytest.approx((0.5, 0.1), abs=0.004)
    first = page.boxes(".bars .first")[0]
    axis = page.boxes("#axis")[0]
    assert (first["x"] - axis["x"]) / axis["width"] == pytest.approx(0.72, abs=0.004)


def test_the_header_sums_the_query_up(shown: Any, demo_file: Path) -> None:
    card = shown(demo_file).text(".card")

    for words in ("demo q1 ok", "1.00 s\nin all", "8", "in 7 batches", "200", "30% cached", "42"):
        assert words in card, card


def test_zooming_in_doubles_bars_and_fit_takes_it_back(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)
    page.click("button[aria-label='Zoom in']")
    assert bars_of(page, "◆expand decode")[1] == pytest.approx(0.3, abs=0.01)  # cut at 0.25 s
    assert bars_of(page, "◆hits[1].search") == pytest.approx((0.7, 0.04), abs=0.006)
    page.click("button[aria-label='Show the whole time']")
    assert bars_of(page, "◆hits[1].search") == pytest.approx((0.6, 0.02), abs=0.004)


def test_dragging_on_the_axis_shows_that_time_only(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)
    page.drag("#axis", 0.5, 0.7)
    assert bars_of(page, "◆hits[1].search") == pytest.approx((0.5, 0.1), abs=0.02)
    page.click("#inTime")
    assert names(page) == [
        *("hits[0].vector embed", "hits[1].vector embed"),
        *("hits[0].search search", "hits[1].search search", "answer.prompt prefill"),
        "answer decode",
    ]
    assert page.text("#found") == "6 of 8 primitives in the shown time"


def test_the_wheel_zooms_at_the_mouse_with_ctrl_only(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)
    page.wheel(".row.span .lane", -100)
    assert bars_of(page, "◆hits[1].search")[1] == pytest.approx(0.02, abs=0.004)
    page.wheel(".row.span .lane", -100, with_ctrl=True)
    page.wait_for("document.querySelector('.row.span .bar.run')")
    begin, length = bars_of(page, "◆hits[1].search")
    assert length == pytest.approx(0.025, abs=0.004)
    assert begin == pytest.approx(0.5 + 0.1 * 1.25, abs=0.01)  # around the middle of the lane


def test_a_click_on_a_row_shows_what_is_known_of_its_primitive(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)
    page.click(".row.span", "answer.prompt")
    details = page.text("#details")

    for words in (
        "answer.prompt",
        "prefill on llm · call answer · app.py:9",
        "waited\n30.0 ms",
        "ran\n50.0 ms (5% of the query)",
        "critical path\n8%",
        "prompt tokens\n160, 38% cached",
        "Waited for\n",
        "hits[1].search",
        "Read by\n",
        '%answer.prompt = prefill %c0 "Answer" %hits [engine="llm"]',
    ):
        assert words in details, details
    assert page.run("document.querySelectorAll('.row[aria-selected=true]').length") == 1
    assert "answer.prompt" in page.text(".row[aria-selected=true] .name")
    assert page.text("#picture .box[aria-pressed=true] .label") == "answer.prompt"
    assert page.text("#path-table tr.selected .link") == "answer.prompt"


def test_the_details_say_why_a_primitive_waited_with_its_causes_indented(
    shown: Any, tmp_path: Path
) -> None:
    behind = [{"at": "q2.plan", "s": 0.02, "why": "turn", "batch_size": 1}]
    policy = {"policy": "application_aware", "waiting": 3}
    known = {"engine": "llm", "batch": 2, "batch_size": 1, "behind": behind, **policy}
    started = at(0.65, "start", "answer.prompt", "prefill", **known)
    events = [e for e in EVENTS if (e.node, e.kind) != (started.node, started.kind)]
    page = shown(write(tmp_path / "waits.jsonl", sorted_by_time(*events, started)))
    page.click(".row.span", "answer.prompt")

    assert page.texts("#details .why li") == [
        "It waited 30.0 ms at its engine:",
        "20.0 ms behind q2.plan (its query had its turn)",
        "10.0 ms for what this trace does not show, as a busy loop or a rate limit",
        "Its engine is ordered by application_aware; 3 requests stayed behind when it started.",
    ]
    assert page.texts("#details .why .cause") == page.texts("#details .why li")[1:3]
    sentence, cause = page.boxes("#details .why li")[:2]
    assert cause["x"] > sentence["x"]


def test_those_of_its_batch_are_marked_and_named(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)
    page.click(".row.span", "hits[0].vector")

    assert [text.strip() for text in page.texts(".row.mate .name bdi")] == ["hits[1].vector"]
    assert "BATCH 0 OF EMBEDDER, WITH" in page.text("#details").upper()


def test_a_click_on_a_link_goes_there(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)
    page.click(".row.span", "answer decode")
    page.click("#details .link", "answer.prompt")

    assert page.texts("#details h2") == ["answer.prompt"]


def test_the_graph_has_a_box_a_primitive_and_readers_below_what_they_read(
    shown: Any, demo_file: Path
) -> None:
    page = shown(demo_file)
    labels = page.texts("#picture .box .label"), page.texts("#picture .box .sub")
    assert [list(pair) for pair in zip(*labels, strict=True)] == [
        ["expand.prompt", "prefill  80.0 ms"],
        ["expand", "decode  300 ms"],
        ["hits[].vector", "embed ×2  80.0 ms"],
        ["hits[].search", "search ×2  120 ms"],
        ["answer.prompt", "prefill  50.0 ms"],
        ["answer", "decode  280 ms"],
    ]
    tops = [box["y"] for box in page.boxes("#picture .box")]
    assert all(lower - upper > 44 for upper, lower in pairwise(tops))
    assert page.run("document.querySelectorAll('#picture .edge.critical').length") == 5


def test_a_label_of_the_graph_stays_inside_its_box(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)
    frames, labels = page.boxes("#picture .frame"), page.boxes("#picture .label")
    for frame, label in zip(frames, labels, strict=True):
        assert label["x"] + label["width"] < frame["x"] + frame["width"]


def test_a_box_selects_its_longest_run_by_mouse_and_by_keyboard(
    shown: Any, demo_file: Path
) -> None:
    page = shown(demo_file, height=1500)
    page.click("#picture .box", "hits[].search")
    assert page.texts("#details h2") == ["hits[1].search"]
    page.run("document.querySelector('#picture .box[data-name=expand]').focus()")
    page.press("Enter")
    assert page.texts("#details h2") == ["expand"]


def test_the_critical_path_says_what_each_step_cost_and_waited_for(
    shown: Any, demo_file: Path
) -> None:
    rows = [text.split("\t") for text in shown(demo_file).texts("#path-table tbody tr")]
    cells = [[cell.strip() for cell in row] for row in rows]

    assert cells[0][:8] == [
        *("expand.prompt", "prefill", "the query's begin"),
        *("10.0 ms", "10.0 ms", "80.0 ms", "100 ms", "10%"),
    ]
    assert cells[3][:4] == ["hits[1].search", "search", "hits[1].vector", "0 ms"]
    assert cells[-1][0] == "after the last"


def test_calls_show_where_their_prompt_tokens_came_from(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)
    heads = page.texts("#calls-table thead th")
    rows = [text.split("\t") for text in page.texts("#calls-table tbody tr")]
    (answer,) = [dict(zip(heads, row, strict=False)) for row in rows if row[0] == "answer"]

    wanted = {"prompt": "160", "computed": "100", "cached": "60", "generated": "30"}
    assert {name: answer[name] for name in wanted} == wanted
    pieces = page.boxes("#calls-table tr:last-child .meter span")
    assert pieces[0]["width"] / pieces[1]["width"] == pytest.approx(100 / 60, rel=0.05)


def test_the_filter_keeps_rows_that_have_all_its_words(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)
    page.click("#search")
    page.type("hits store")
    assert names(page) == ["hits[0].search search", "hits[1].search search"]
    assert page.text("#found") == "2 of 8 primitives"
    assert "2 rows" in page.text(".row.group")


def test_only_the_critical_path_and_only_some_engines_can_be_shown(
    shown: Any, demo_file: Path
) -> None:
    page = shown(demo_file)
    page.click("#critical")
    assert not any("hits[0]" in name for name in names(page))
    assert len(names(page)) == 6
    page.click(".chip", "llm")
    assert names(page) == ["hits[1].vector embed", "hits[1].search search"]


def test_a_query_can_be_folded_and_rows_be_sorted_by_length(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)
    page.run(
        "(() => { const box = document.getElementById('order'); box.value = 'longest';"
        "box.dispatchEvent(new Event('change')); })()"
    )
    assert names(page)[:2] == ["expand decode", "answer decode"]
    page.click(".row.group")
    assert names(page) == []
    page.click(".row.group")
    assert len(names(page)) == 8


def test_the_keyboard_walks_rows_and_zooms(shown: Any, demo_file: Path) -> None:
    page = shown(demo_file)
    page.run("document.getElementById('rows').focus()")
    page.press("ArrowDown")
    page.press("ArrowDown")
    assert page.texts("#details h2") == ["expand"]
    active = page.run("document.getElementById('rows').getAttribute('aria-activedescendant')")
    assert "expand, decode on llm" in page.run(
        f"document.getElementById('{active}').getAttribute('aria-label')"
    )
    page.press("End")
    assert page.texts("#details h2") == ["answer"]
    page.press("z")
    assert bars_of(page, "◆answer decode")[1] == pytest.approx(1 / 1.2, abs=0.02)
    page.press("0")
    assert bars_of(page, "◆answer decode")[1] == pytest.approx(0.28, abs=0.004)


def test_all_that_can_be_used_has_a_name_for_screen_readers(shown: Any, demo_file: Path) -> None:
    nodes = shown(demo_file).accessible()
    named = {role: name for role, name in nodes if role in ("main", "banner", "complementary")}
    usable = [node for node in nodes if node[0] in ("button", "checkbox", "searchbox", "combobox")]

    assert named.keys() == {"main", "banner", "complementary"}
    assert len(usable) > 20
    assert all(name for _, name in usable), usable


def test_texts_of_a_trace_are_shown_and_never_run(shown: Any, tmp_path: Path) -> None:
    quoted = EVIL.replace('"', '\\"')
    about = {**ABOUT, "app": EVIL, "graph": GRAPH.replace('"Answer"', f'"{quoted}"')}
    events = sorted_by_time(
        replace(EVENTS[0], fields=about),
        *(event for event in EVENTS[1:] if event.node != "answer" and event.kind != "done"),
        at(0.8, "text", "answer.prompt", "prefill", text=EVIL, final=True),
        *ran("answer", "decode", EVIL, (0.7, 0.7, 0.9), 3)[:2],
        at(0.9, "error", "answer", "decode", error=EVIL),
        at(0.9, "done", status=EVIL, error=EVIL),
    )
    page = shown(write(tmp_path / "evil <b>&.jsonl", events))
    page.click(".row.span", "answer.prompt")
    details = page.text("#details")

    assert page.run("document.title") == "evil <b>&.jsonl · teola trace"
    assert page.run("document.querySelectorAll('img, b b, h1 b, pre b').length") == 0
    assert details.count(EVIL) == 1  # written
    assert quoted in details  # read
    assert EVIL in page.text(".card h2")
    assert EVIL in page.text("#failures")


def test_a_failed_query_says_which_primitive_and_why_at_the_top(shown: Any, tmp_path: Path) -> None:
    events = [event for event in EVENTS if event.t < 100.65]
    failed = at(0.66, "error", "answer.prompt", "prefill", error="EngineError: no room")
    done = at(0.67, "done", status="NodeFailed", error="%answer.prompt: no room")
    page = shown(write(tmp_path / "failed.jsonl", [*events, failed, done]))

    assert "NodeFailed" in page.text(".card h2")
    top = page.boxes("#failures")[0]
    assert top["y"] + top["height"] < 400
    assert "EngineError: no room" in page.text("#failures")
    assert "prefill  0 ms  failed" in page.texts("#picture .sub")
    page.click("#failed")
    assert names(page) == ["answer.prompt prefill"]
    page.click("#failures .link")
    assert "EngineError: no room" in page.text("#details .error")


def test_a_query_that_did_not_end_says_so(shown: Any, tmp_path: Path) -> None:
    events = [event for event in EVENTS if event.t <= 100.25]
    page = shown(write(tmp_path / "cut.jsonl", events))

    assert "the record stops before the query's end" in page.text("header .warning")
    page.click(".row.span", "expand decode")
    assert "it did not end" in page.text("#details")


def test_a_query_of_which_nothing_ran_yet_has_a_page(shown: Any, tmp_path: Path) -> None:
    page = shown(write(tmp_path / "begun.jsonl", EVENTS[:1]))

    assert page.text("#path-table") == "No primitive ran."
    assert page.text("#found") == "0 primitives"


def test_failed_tries_and_texts_are_among_the_details(shown: Any, tmp_path: Path) -> None:
    retry = at(0.45, "retry", "hits[0].vector", "embed", error="EngineUnavailable: x", after_s=0.1)
    text = at(0.8, "text", "answer", "decode", text="Rome\nis larger.", final=True)
    page = shown(write(tmp_path / "tries.jsonl", sorted_by_time(*EVENTS, retry, text)))
    page.click(".row.span", "hits[0].vector")
    assert "450 ms: EngineUnavailable: x, again after 100 ms" in page.text("#details")
    assert len(page.boxes(".retried")) == 1
    page.click(".row.span", "answer decode")
    assert page.texts("#details pre")[0] == "Rome\nis larger."


def relative_luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(page: Page, selector: str, behind: str = "body") -> float:
    colour = f"getComputedStyle(document.querySelector('{selector}')).color"
    ground = f"getComputedStyle(document.querySelector('{behind}')).backgroundColor"
    lights = sorted(relative_luminance(page.run(each)) for each in (colour, ground))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_in_light_and_in_dark(shown: Any, demo_file: Path, scheme: str) -> None:
    page = shown(demo_file, scheme=scheme)
    is_dark = relative_luminance(page.run("getComputedStyle(document.body).backgroundColor")) < 0.1

    assert is_dark == (scheme == "dark")
    for selector in ("body", ".dim", ".good", ".path-mark"):
        assert contrast(page, selector) >= 4.5, selector
    page.click("#theme")
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert (relative_luminance(ground) < 0.1) != is_dark


@pytest.mark.parametrize("width", [420, 900, 1400])
def test_the_page_fits_the_width_of_the_window(shown: Any, demo_file: Path, width: int) -> None:
    page = shown(demo_file, width=width)

    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.boxes("#axis")[0]["width"] > 0.25 * page.boxes(".board")[0]["width"]


def test_the_queries_of_a_file_with_many_are_folded_until_they_are_looked_for(
    shown: Any, tmp_path: Path
) -> None:
    queries = [
        replace(event, query=f"q{number}", t=event.t + number)
        for number in range(40)
        for event in EVENTS
    ]
    page = shown(write(tmp_path / "many.jsonl", queries))
    assert names(page) == []
    assert page.text("#found") == "320 primitives"
    assert page.text(".summary") == "40 queries, 320 primitives, 40.0 s in all"
    (axis,) = page.boxes("#axis")
    second = page.boxes(".row.group .whole")[1]
    assert (second["x"] - axis["x"]) / axis["width"] == pytest.approx(1 / 40, abs=0.003)
    assert second["width"] / axis["width"] == pytest.approx(1 / 40, abs=0.003)

    page.click("#search")
    page.type("hits[1].search")
    assert names(page)[:2] == ["hits[1].search search"] * 2
    assert page.text("#found").startswith("40 of 320")


def test_failures_of_many_queries_are_cut_to_a_few(shown: Any, tmp_path: Path) -> None:
    failed = [
        *EVENTS[:4],
        at(0.3, "error", "expand.prompt", "prefill", error="EngineError: full"),
        at(0.4, "done", status="NodeFailed", error="%expand.prompt: full"),
    ]
    queries = [
        replace(event, query=f"q{number}", t=event.t + number)
        for number in range(9)
        for event in failed
    ]
    page = shown(write(tmp_path / "many.jsonl", queries))

    assert page.text("#failures").endswith('and 3 more queries: tick "failed only"')
    assert len(page.texts("#failures .link")) == 6


def test_an_app_inside_another_is_a_query_of_its_own_and_counted_in_the_whole(
    shown: Any, tmp_path: Path
) -> None:
    graph = 'graph inner {\n  %a = embed null [engine="embedder"]\n  return %a\n}'
    about = {**ABOUT, "app": "inner", "graph": graph, "within": "q1.hits[0].search"}
    inner = [
        at(0.505, "query", **about),
        *ran("a", "embed", "embedder", (0.506, 0.507, 0.51), 7, prefill_tokens=1000),
        at(0.511, "done", status="ok"),
    ]
    events = [replace(event, query="q2") for event in inner]
    page = shown(write(tmp_path / "nested.jsonl", sorted_by_time(*EVENTS, *events)))

    assert "within q1.hits[0].search" in page.texts(".row.group .title")[1]
    (card,) = page.texts(".card")
    assert "9\nprimitives in 8 batches" in card
    assert "1,200\nprompt tokens" in card
    page.click(".row.span", "hits[0].search")
    page.click("#details .link", "q2 a")
    assert page.texts("#details h2") == ["a"]
    assert "inner q2, ok: 1 box" in page.text("#graph-about")


def test_fused_prompts_say_what_was_reused(shown: Any, tmp_path: Path) -> None:
    report = {
        "plan": "lego(16)",
        "num_chunks": 5,
        "num_encoded": 2,
        "num_tokens": 200,
        "rows": [200, 40, 40, 40],
        "saved_s": 0.25,
    }
    fused = {"prefill_tokens": 40, "fused_tokens": 150, "cached_tokens": 10, "fusion": report}
    events = [
        replace(event, fields={**event.fields, **fused})
        if (event.kind, event.node) == ("end", "answer.prompt")
        else event
        for event in EVENTS
    ]
    page = shown(write(tmp_path / "fused.jsonl", events))
    heads = page.texts("#calls-table thead th")
    rows = [text.split("\t") for text in page.texts("#calls-table tbody tr")]
    (answer,) = [dict(zip(heads, row, strict=False)) for row in rows if row[0] == "answer"]
    assert (answer["prompt"], answer["fused"]) == ("200", "150 (3 of 5 chunks)")

    page.click(".row.span", "answer.prompt")
    details = page.text("#details")
    for words in (
        *("prompt tokens\n200, 5% cached, 75% fused", "plan\nlego(16)"),
        *("chunks\n3 reused, 2 encoded", "computed\n40%", "saved\n250 ms by estimate"),
    ):
        assert words in details, details
