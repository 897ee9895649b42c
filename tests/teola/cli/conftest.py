"""A folder with an app file in it, and commands run inside this process."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

APP = '''
import enum
from typing import Literal

import teola as tl
from pydantic import BaseModel

llm = tl.LLM("fake:", replies={"Say": "one two three", "Sum": '{"total": 3, "note": "ok"}'})


class Tone(enum.Enum):
    DRY = "dry"
    WARM = "warm"


class Style(BaseModel):
    words: int = 30


class Total(BaseModel):
    total: int
    note: str


@tl.prompt(llm)
def say(x: str) -> str:
    return f"Say {x}"


@tl.prompt(llm, out=Total)
def add(x: str) -> str:
    return f"Sum {x}"


@tl.tool
def shout(x: str) -> str:
    print("shouting")
    return x.upper()


@tl.tool
def fail(x: str) -> str:
    raise ValueError("the tool does not like it")


@tl.app
def talk(
    topic: str,
    n: int = 3,
    tone: Tone = Tone.DRY,
    lang: Literal["en", "de"] = "en",
    loud: bool = False,
) -> str:
    """Talk about a topic."""
    return say(topic)


@tl.app
def total(x: str) -> Total:
    return add(x)


@tl.app
def parts(files: list[str], nums: list[int] = [1], style: Style | None = None) -> str:
    """Join the files' names."""
    return tl.join(files, "{i}:{text}", sep=" ")


@tl.app
def loud(x: str) -> str:
    return shout(x)


@tl.app
def broken(x: str) -> str:
    return fail(x)


@tl.app
def read(files: list[str]) -> str:
    return tl.join(tl.load(files))


@tl.app
def shared(timeout: int, quiet: bool = False) -> str:
    return say(f"for {timeout} s, {quiet}")


not_an_app = 3
'''


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


Commands = Callable[..., Done]


@pytest.fixture(autouse=True)
def _own_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts in an empty folder, and modules it loads are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def app_file(tmp_path: Path) -> Path:
    path = tmp_path / "app.py"
    path.write_text(APP, encoding="utf-8")
    return path


@pytest.fixture
def teola(app_file: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    """`teola("run", "app.py:talk", ...)` inside this process."""
    from teola.cli.main import app

    def run(*words: str) -> Done:
        try:
            app(list(words), prog_name="teola")
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run
