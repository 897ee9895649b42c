"""What an app computed once it does not compute again: with the real tools, on fake engines."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import teola as tl
from runtime.events import Event
from teola.cli.main import app as command
from teola.errors import ConfigError

SAME = {"repeatable": True}
llm = tl.LLM("fake:memo", **SAME)
store = tl.Store("fake:memo", embedder=tl.Embedder("fake:memo", **SAME))


@tl.prompt(llm)
def answer(question: str, docs: list[tl.Doc]) -> str:
    return f"{tl.join(docs)}\nQuestion: {question}"


@tl.app
def ask(question: str, files: list[str]) -> str:
    passages = tl.split(tl.load(files), chunk_tokens=20, overlap=0)
    return answer(question, store.index(passages).search(question, k=2))


class Counts:
    """What the engines ran, by op."""

    def __init__(self) -> None:
        self.items: dict[str, int] = {}
        self.remembered = 0

    def __call__(self, event: Event) -> None:
        if event.kind == "end":
            num = event.fields["num_items"] or event.fields["decode_tokens"]
            self.items[event.op] = self.items.get(event.op, 0) + num
            self.remembered += event.fields.get("remembered_items", 0)


@pytest.fixture
def files(tmp_path: Path, request: pytest.FixtureRequest) -> list[str]:
    """Texts that no other test has."""
    for number in range(4):
        words = " ".join(f"{request.node.name} {number} word{i}" for i in range(30))
        (tmp_path / f"{number}.txt").write_text(words)
    return [str(tmp_path)]


def counted(question: str, files: list[str], **options: Any) -> Counts:
    counts = Counts()
    ask.using(listener=counts, **options)(question, files)
    return counts


@pytest.mark.parametrize("optimize", [True, False])
def test_the_second_question_over_the_same_documents_embeds_one_text(
    files: list[str], optimize: bool
) -> None:
    first = counted(f"one? {optimize}", files, optimize=optimize)
    second = counted(f"two? {optimize}", files, optimize=optimize)
    assert first.items["embed"] > 10
    assert second.items["embed"] == 1
    assert second.items["decode"] > 0  # another question is another answer


def test_a_changed_file_embeds_its_own_passages_alone(files: list[str]) -> None:
    counted("one?", files)
    (Path(files[0]) / "0.txt").write_text("something new in one passage")
    assert counted("one?", files).items["embed"] == 1


def test_the_same_question_costs_nothing(files: list[str]) -> None:
    counted("one?", files)
    again = counted("one?", files)
    assert (again.items["embed"], again.items["decode"]) == (0, 0)
    assert again.remembered > 10


def test_without_memo_everything_is_computed(files: list[str]) -> None:
    first = counted("one?", files, memo=False)
    again = counted("one?", files, memo=False)
    assert first.items == again.items
    assert again.remembered == 0


def test_what_a_tenant_remembers_is_for_no_other(files: list[str]) -> None:
    counted("one?", files, salt="anna")
    assert counted("one?", files, salt="ben").remembered == 0
    assert counted("one?", files, salt="anna").items["embed"] == 0


def test_a_folder_is_shown_and_cleared(files: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "memo"
    counted("one?", files, memo=str(folder))
    shown = CliRunner().invoke(command, ["cache", "show", str(folder)])
    assert shown.exit_code == 0
    assert "values, " in shown.output
    cleared = CliRunner().invoke(command, ["cache", "clear", str(folder)])
    assert "forgot" in cleared.output
    assert ": 0 values" in CliRunner().invoke(command, ["cache", "show", str(folder)]).output


def test_a_folder_without_a_memo_is_said_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["cache", "clear", str(tmp_path)])
    assert result.exit_code == 1
    assert "remembers nothing" in result.stderr


@pytest.mark.parametrize("memo", ["", 3, None])
def test_a_memo_that_is_none_is_refused(memo: Any) -> None:
    with pytest.raises(ConfigError, match="memo is True, False"):
        ask.using(memo=memo)


@pytest.mark.parametrize("salt", ["", 3, b"anna"])
def test_a_salt_that_is_none_is_refused(salt: Any) -> None:
    with pytest.raises(ConfigError, match="salt is a text that names a tenant"):
        ask.using(salt=salt)
