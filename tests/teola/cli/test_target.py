from pathlib import Path

import pytest

from teola.cli.failures import CommandError, UsageError
from teola.cli.target import load_app

ONE_APP = """
import teola as tl

@tl.app
def only(x: str) -> str:
    return x
"""


def test_a_file_and_a_name_are_an_app(app_file: Path) -> None:
    assert load_app(f"{app_file}:talk").name == "talk"


def test_a_module_of_this_folder_and_a_name_are_an_app(app_file: Path) -> None:
    assert load_app(f"{app_file.stem}:talk").name == "talk"


@pytest.mark.parametrize("target", ["one.py", "one"])
def test_the_name_may_be_left_out_where_there_is_one_app(tmp_path: Path, target: str) -> None:
    (tmp_path / "one.py").write_text(ONE_APP)

    assert load_app(target).name == "only"


def test_an_imported_app_does_not_count_where_the_file_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(ONE_APP)
    (tmp_path / "two.py").write_text(f"from one import only as other\n{ONE_APP}")

    assert load_app("two.py").name == "only"


def test_a_file_imports_its_neighbours_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    (folder / "neighbour.py").write_text(ONE_APP)
    (folder / "main_app.py").write_text("from neighbour import only")
    monkeypatch.chdir("/")

    assert load_app(f"{folder}/main_app.py:only").name == "only"


def test_a_file_of_a_package_may_use_relative_imports(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text(ONE_APP)
    (package / "apps.py").write_text("from .parts import only")

    assert load_app("shop/apps.py:only").name == "only"


def test_a_file_named_like_a_loaded_module_does_not_replace_it(tmp_path: Path) -> None:
    import runtime

    (tmp_path / "runtime.py").write_text(ONE_APP)

    assert load_app("runtime.py").name == "only"
    import runtime as still

    assert still is runtime


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("gone.py:talk", "no such file: gone.py"),
        ("no_such_module:talk", "no module 'no_such_module'"),
        ("app.py:tlak", "app.py has no 'tlak'; apps there: talk, total, parts"),
        ("app.py:not_an_app", "app.py:not_an_app is not an app but a int; apps there: talk"),
        ("app.py:say", "app.py:say is not an app but a PromptFunction"),
        ("app.py", "app.py has several apps; write app.py:NAME"),
    ],
)
def test_a_wrong_target_is_wrong_usage(app_file: Path, target: str, message: str) -> None:
    assert app_file.exists()
    with pytest.raises(UsageError) as caught:
        load_app(target)
    assert message in str(caught.value)


def test_a_file_without_apps_says_so(tmp_path: Path) -> None:
    (tmp_path / "none.py").write_text("x = 1")

    with pytest.raises(UsageError, match="none.py has no app"):
        load_app("none.py")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\nimport no_such_thing", "line 2: ModuleNotFoundError: No module named"),
        ("def f(:", "bad.py:1: "),
        ("x = 1\n1 / 0", "line 2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)", "line 2: SystemExit: 3"),
        ("import teola as tl\nllm = tl.LLM('nope:x')", "line 2: unknown scheme 'nope'"),
    ],
)
def test_a_module_that_fails_to_import_says_where_and_why(
    tmp_path: Path, source: str, message: str
) -> None:
    (tmp_path / "bad.py").write_text(source)

    with pytest.raises(CommandError) as caught:
        load_app("bad.py:x")
    assert str(caught.value).startswith("cannot import bad.py: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
