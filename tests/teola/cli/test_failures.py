import pytest

from backends.errors import EngineUnavailable
from runtime.errors import NodeFailed
from teola.cli.failures import CommandError, UsageError, message_of, reported


def report_of(
    error: BaseException, capsys: pytest.CaptureFixture[str], debug: bool = False
) -> tuple[object, str]:
    with pytest.raises(SystemExit) as end, reported(debug):
        raise error
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("which app?"), 2, "error: which app?\n"),
        (CommandError("cannot import"), 1, "error: cannot import\n"),
        (EngineUnavailable("gone"), 1, "error: gone\n"),
        (ValueError("no number"), 1, "error: no number\n"),
        (FileNotFoundError(2, "No such file", "a.txt"), 1, "error: a.txt: No such file\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_an_error_is_one_message_and_an_exit_code(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_of(error, capsys) == (code, message)


def test_an_error_that_nobody_expected_says_its_kind_and_how_to_see_more() -> None:
    assert message_of(KeyError("x")) == "KeyError: 'x' (--debug shows where)"


def test_what_a_users_tool_raised_is_named() -> None:
    error = NodeFailed("shout", "app.py:3", KeyError("x"))

    assert message_of(error) == "%shout (app.py:3) failed: KeyError: 'x'"


def test_debug_shows_where_it_happened(capsys: pytest.CaptureFixture[str]) -> None:
    _, shown = report_of(UsageError("which app?"), capsys, debug=True)

    assert shown.startswith("Traceback")
    assert shown.endswith("error: which app?\n")


@pytest.mark.parametrize("debug", [False, True])
def test_secrets_in_urls_are_not_printed(debug: bool, capsys: pytest.CaptureFixture[str]) -> None:
    _, said = report_of(ValueError("no way to http://u:SECRET@h?api_key=SECRET"), capsys, debug)
    assert said.endswith("error: no way to http://u:***@h?api_key=***\n")
    assert ("Traceback" in said, "SECRET" in said) == (debug, False)
