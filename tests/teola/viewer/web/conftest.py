"""Pages in a real browser. `TEOLA_SCREENSHOTS=FOLDER` keeps a picture of each test's page."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from browser import Browser, Page, find_browser

from teola.viewer.reading import read_trace_file
from teola.viewer.web.web_page import web_page

Shown = Callable[..., Page]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium here: `make browser` installs one (as root), or set TEOLA_BROWSER")
    browser = Browser(program)
    yield browser
    browser.close()


@pytest.fixture
def shown(chromium: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shown]:
    """Opens a page, or that of one trace file, or of two. It asks for nothing and has no error."""
    pages: list[Page] = []

    def show(*traces: Path, width: int = 1400, height: int = 900, scheme: str = "light") -> Page:
        path = traces[0]
        if path.suffix != ".html":
            path = tmp_path / "page.html"
            path.write_text(web_page([(trace.name, read_trace_file(trace)) for trace in traces]))
        page = Page(chromium, width, height)
        pages.append(page)
        page.prefer(scheme)
        page.open(path)
        return page

    yield show
    folder = os.environ.get("TEOLA_SCREENSHOTS")
    for number, page in enumerate(pages):
        if folder:
            page.screenshot(Path(folder) / f"{request.node.name}-{number}.png")
        assert page.problems == []
        assert page.requests == []
        page.close()
