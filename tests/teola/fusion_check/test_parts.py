"""The questions, the recovered fraction and the journal of a check."""

from pathlib import Path

import pytest

from backends.base import Chunk
from teola.fusion_check.journal import Journal
from teola.fusion_check.loss import Loss
from teola.fusion_check.questions import DATA, read_questions
from teola.fusion_check.recovered import recovered

LOSS = Loss(0.1, 0.9, 0.2, 1400)


def test_twenty_questions_with_their_licence_ship_with_the_package() -> None:
    questions = read_questions()
    assert len(questions) == 20
    assert all(len(question.passages) == 12 and question.text for question in questions)
    assert len(read_questions(most=3)) == 3
    assert "CC BY 4.0" in (DATA.parent / "DATA.md").read_text()


def test_a_prompt_has_its_passages_as_chunks_and_the_question_last() -> None:
    question = read_questions(most=1)[0]
    chunks = [part for part in question.prompt if isinstance(part, Chunk)]
    assert [chunk.strip() for chunk in chunks] == [p.strip() for p in question.passages]
    assert question.text in str(question.prompt[-2])


def test_r_is_the_part_of_the_loss_that_comes_back() -> None:
    found = recovered([0.1, 0.0], [0.2, 0.2])
    assert found.r == pytest.approx(0.75)
    assert found.low == pytest.approx(0.5)
    assert found.high == pytest.approx(1.0)
    assert recovered([0.2, 0.3], [0.2, 0.3]) == (0, 0, 0)
    assert recovered([0.3], [0.1]).r == pytest.approx(-2)


def test_where_reuse_loses_nothing_all_is_recovered() -> None:
    assert recovered([1e-12], [1e-12]) == (1, 1, 1)


def test_a_journal_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = Journal(tmp_path / "new" / "j", {"model": "a"})
    first.keep(0, "reuse", LOSS)
    again = Journal(tmp_path / "new" / "j", {"model": "a"})
    assert (again.get(0, "reuse"), again.get(1, "reuse")) == (LOSS, None)


def test_a_journal_of_something_else_begins_anew(tmp_path: Path) -> None:
    Journal(tmp_path / "j", {"model": "a"}).keep(0, "reuse", LOSS)
    assert Journal(tmp_path / "j", {"model": "b"}).get(0, "reuse") is None
    assert Journal(tmp_path / "j", {"model": "a"}).get(0, "reuse") is None


def test_a_line_that_was_cut_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path, {})
    journal.keep(0, "reuse", LOSS)
    journal.keep(0, "lego(4)", LOSS)
    path.write_text(path.read_text()[:-20])
    again = Journal(path, {})
    assert (again.get(0, "reuse"), again.get(0, "lego(4)")) == (LOSS, None)
    again.keep(0, "lego(4)", LOSS)
    assert Journal(path, {}).get(0, "lego(4)") == LOSS
