"""The Python of the pages on ways of writing runs as it stands there, on the default model.

The blocks of a page are one program, each at the line that it has in the page. A block that opens
with `# not run: REASON` is only compiled.
"""

import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (
    "fusion",
    "functions",
    "programs",
    "agents",
    "teams",
    "mcp",
    "testing",
    "comparison",
    "observability",
    "durable_runs",
)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NOT_RUN = re.compile(r"# not run: \S")

Run = Callable[[str, str], ModuleType]


def blocks(page: str) -> list[tuple[int, str]]:
    """Each with the number of its first line."""
    return [(page.count("\n", 0, m.start(1)) + 1, m[1]) for m in BLOCK.finditer(page)]


def program(page: str) -> str:
    """The blocks that run; all else is empty lines."""
    lines = [""] * page.count("\n")
    for first, text in blocks(page):
        if not NOT_RUN.match(text):
            lines[first - 1 : first - 1 + text.count("\n")] = text.splitlines()
    return "\n".join(lines)


def failing_line(error: BaseException, path: Path) -> int:
    """Of the page: where the error left it."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 0
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno or 0 for f in reversed(frames) if f.filename == str(path)), 0)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a page as a module, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run_page(name: str, page: str) -> ModuleType:
        module_name = f"docs_{name}"
        path = tmp_path / f"{module_name}.py"
        path.write_text(program(page))
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module_name, module)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise AssertionError(f"{name}.md:{failing_line(error, path)}: {said}") from error
        return module

    return run_page


@pytest.mark.model
@pytest.mark.parametrize("name", PAGES)
def test_the_blocks_of_a_page_run_top_to_bottom(name: str, run: Run) -> None:
    page = (DOCS / f"{name}.md").read_text()
    assert program(page).strip(), "a page without a block that runs"
    run(name, page)


@pytest.mark.parametrize("name", PAGES)
def test_every_block_of_a_page_compiles(name: str) -> None:
    for first, text in blocks((DOCS / f"{name}.md").read_text()):
        compile("\n" * (first - 1) + text, f"{name}.md", "exec")


def test_a_name_of_one_block_is_there_in_the_next(run: Run) -> None:
    module = run("small", "# a page\n\n```python\na = 1\n```\ntext\n\n```python\nb = a + 1\n```\n")
    assert module.b == 2


def test_a_block_that_fails_is_told_with_its_line_in_the_page(run: Run) -> None:
    page = (
        "# a page\n\n```python\na = 1\n\n\ndef f():\n    return a.b\n```\n\n```python\nf()\n```\n"
    )
    with pytest.raises(AssertionError, match=r"^small\.md:8: AttributeError: .* 'b'"):
        run("small", page)
    with pytest.raises(AssertionError, match=r"^small\.md:4: SyntaxError"):
        run("small", "text\n\n```python\na b\n```\n")


def test_a_block_that_says_why_it_is_not_run_is_not(run: Run) -> None:
    page = "```python\n{}\na = 1\n```\n"
    assert not hasattr(run("small", page.format("# not run: it needs a server")), "a")
    assert run("small", page.format("# not run:")).a == 1
