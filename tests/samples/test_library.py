"""The sample that indexes once and is asked often, on fake engines."""

from pathlib import Path

from samples import library

FAKES = {"store": "fake:library sample", "embedder": "fake:"}


def test_what_was_indexed_is_asked_and_what_vanished_is_gone(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("ada", "alan"):
        (tmp_path / "docs" / f"{name}.md").write_text(f"# {name}\n\nabout {name}")
    index, ask = (
        library.index.using(engines=FAKES),
        library.ask.using(engines={**FAKES, "llm": "fake:"}),
    )
    assert index([str(tmp_path)]) == 2
    both = ask("about ada", k=2)
    (tmp_path / "docs" / "ada.md").unlink()
    assert index([str(tmp_path)]) == 1
    assert ask("about ada", k=2) != both
    assert ask.using(optimize=False)("about ada", k=2) == ask("about ada", k=2)
