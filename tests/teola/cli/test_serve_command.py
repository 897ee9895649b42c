"""What `teola serve` refuses before it serves: one line, that says what to do."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name an app to serve: teola serve app.py:name"),
        (["nowhere.py:x"], "no such file: nowhere.py"),
        (["app.py:nope"], "app.py has no 'nope'; apps there: "),
        (["app.py:talk", "--engine", "llm"], "--engine takes NAME=URL, like llm=local:"),
        (["app.py:talk", "--engine", "other=fake:"], "no app has an engine 'other'; there are"),
        (["app.py:talk", "--cors", "chat"], "--cors 'chat': write an origin like https://"),
        (["app.py:talk", "--run-timeout", "0"], "--run-timeout is 0.0; it must be above 0"),
        (["app.py:talk", "--run-timeout", "inf"], "--run-timeout is inf; write a number"),
        (["app.py:talk", "--drain", "inf"], "--drain is inf; write a number"),
        (["app.py:talk", "--max-body-mb", "inf"], "--max-body-mb is inf; write a number"),
        (
            ["app.py:talk", "--policy", "best"],
            "--policy 'best': no such policy; there are application_aware",
        ),
        (["app.py:talk", "--tenant-header", "a b"], "--tenant-header 'a b': write the name of a"),
        (["app.py:talk", "--api-key", " "], "--api-key or TEOLA_API_KEY: the key is empty"),
    ],
)
def test_a_wrong_option_or_app_is_told_in_one_line(
    teola: Callable[..., Any], words: list[str], says: str
) -> None:
    done = teola("serve", *words)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert says in line
    assert line.startswith("error: ")


@pytest.mark.parametrize(
    "words", [["--port", "70000"], ["--max-runs", "0"], ["--drain", "nan"], ["--bogus"]]
)
def test_what_is_no_option_or_out_of_its_range_is_named(
    teola: Callable[..., Any], words: list[str]
) -> None:
    done = teola("serve", "app.py:talk", *words)
    assert done.code == 2
    assert words[0] in done.err


def test_two_apps_of_one_name_are_told(teola: Callable[..., Any]) -> None:
    done = teola("serve", "app.py:talk", "app.py:talk")
    assert (done.code, "two of the apps to serve are called 'talk'" in done.err) == (1, True)
