import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from viewer_query import ABOUT, EVENTS, write

from runtime.events import Event
from teola.viewer.reading import read_trace_file
from teola.viewer.web.web_page import web_page

EVIL = "</script><!--<script>\u2028\ud800&amp;"


def page_of(path: Path, events: list[Event] = EVENTS) -> str:
    write(path, events)
    return web_page([(path.name, read_trace_file(path))])


def content_in(page: str) -> Any:
    (found,) = re.findall(r'<script type="application/json" id="content">(.*?)</script>', page)
    return json.loads(found)


def test_no_text_of_a_trace_can_end_the_content(tmp_path: Path) -> None:
    page = page_of(tmp_path / "t.jsonl", [replace(EVENTS[0], fields={**ABOUT, "app": EVIL})])
    content = content_in(page)

    assert page.count("</script>") == 2
    assert page.count("<!--") == 0
    assert content["files"][0]["queries"][0]["app"] == EVIL
    page.encode()


def test_the_name_of_the_file_is_escaped_in_the_title(tmp_path: Path) -> None:
    page = page_of(tmp_path / "<b>&.jsonl")

    assert "<title>&lt;b&gt;&amp;.jsonl · teola trace</title>" in page


def test_the_page_names_no_address_and_forbids_all_requests(tmp_path: Path) -> None:
    page = page_of(tmp_path / "t.jsonl")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)

    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+\.\w+[^\s\"']*", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name of a namespace
    assert re.findall(r"\b(?:src|href)=\"([^\"]*)\"", page) == ["data:,"]


def test_a_page_of_one_trace_compares_nothing(tmp_path: Path) -> None:
    assert content_in(page_of(tmp_path / "t.jsonl"))["difference"] is None
