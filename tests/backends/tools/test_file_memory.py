"""Files that did not change are neither read nor parsed again."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.tools import load as loading
from backends.tools.file_memory import FileMemory
from backends.tools.load import fingerprint, load


@dataclass(frozen=True)
class Text:
    text: str


class Counting:
    """A parser that says how often it ran."""

    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(self, content: bytes) -> list[Text]:
        self.num_calls += 1
        return [Text(content.decode())]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were opened."""
    opened: list[Path] = []
    read_bytes = Path.read_bytes

    def read(path: Path) -> bytes:
        opened.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    return opened


def test_an_unchanged_file_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    memory, parse = FileMemory(settled_s=-1), Counting()
    path = tmp_path / "a.txt"
    path.write_text("one")
    assert memory.parts(path, parse) == memory.parts(path, parse) == (Text("one"),)
    assert memory.digest(path) == memory.digest(path)
    assert (reads, parse.num_calls) == ([path], 1)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    memory, parse = FileMemory(settled_s=-1), Counting()
    path = tmp_path / "a.txt"
    for text in ("one", "three"):
        path.write_text(text)
        assert memory.parts(path, parse) == (Text(text),)
    path.unlink()
    path.write_text("seven")  # of the same size, perhaps within one tick of the clock
    assert FileMemory().parts(path, parse) == (Text("seven"),)


def test_a_file_that_was_just_written_is_read_again_but_not_parsed(
    tmp_path: Path, reads: list[Path]
) -> None:
    memory, parse = FileMemory(settled_s=60), Counting()
    path = tmp_path / "a.txt"
    path.write_text("one")
    memory.parts(path, parse)
    memory.parts(path, parse)
    assert (len(reads), parse.num_calls) == (2, 1)
    path.write_text("two")
    assert memory.parts(path, parse) == (Text("two"),)


def test_files_of_equal_content_are_parsed_once(tmp_path: Path) -> None:
    memory, parse = FileMemory(), Counting()
    for name in "ab":
        (tmp_path / name).write_text("one")
        memory.parts(tmp_path / name, parse)
    assert parse.num_calls == 1


def test_the_memory_is_bounded_and_drops_what_was_used_longest_ago(tmp_path: Path) -> None:
    memory, parse = FileMemory(most_characters=10, settled_s=-1), Counting()
    for name in "abacab":  # c drops b, b drops c
        (tmp_path / name).write_text(name * 4) if not (tmp_path / name).exists() else None
        memory.parts(tmp_path / name, parse)
    assert parse.num_calls == 4
    (tmp_path / "long").write_text("x" * 11)
    for _ in range(2):
        assert memory.parts(tmp_path / "long", parse) == (Text("x" * 11),)


def test_a_folder_of_unchanged_files_is_loaded_without_reading(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_memory", FileMemory(settled_s=-1))
    for name in ("a.txt", "b.md", "c.html"):
        (tmp_path / name).write_text(f"text of {name}")
    before, print_before = load([str(tmp_path)]), fingerprint([str(tmp_path)])
    assert len(reads) == 3
    assert load([str(tmp_path)]) == before
    assert fingerprint([str(tmp_path)]) == print_before
    assert len(reads) == 3
    (tmp_path / "b.md").write_text("something else")
    assert fingerprint([str(tmp_path)]) != print_before
    assert load([str(tmp_path)])[1].text == "something else"
    assert len(reads) == 5  # for the digest, then to parse it


def test_a_fingerprint_tells_which_files_there_are(tmp_path: Path) -> None:
    prints = [fingerprint([str(tmp_path)])]
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("the same")
        prints.append(fingerprint([str(tmp_path)]))
    prints.append(fingerprint([str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]))
    assert len(set(prints)) == 4
