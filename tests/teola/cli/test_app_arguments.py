from pathlib import Path
from typing import Any

import pytest

from teola.cli.app_arguments import Command, parse
from teola.cli.failures import UsageError
from teola.cli.run_command import OPTIONS

RUN = Command("run-graph", "Run an app.", OPTIONS)
GRAPH = Command("teola graph", "Print a graph.", (), needs_all=False)

pytestmark = pytest.mark.usefixtures("app_file")


def arguments(*words: str) -> dict[str, Any]:
    return dict(parse(RUN, words).arguments)


def refused(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(RUN, words)
    return str(caught.value)


def test_only_what_is_given_is_passed_on() -> None:
    assert arguments("app.py:talk", "--topic", "sea") == {"topic": "sea"}


def test_values_have_the_types_of_the_signature() -> None:
    given = arguments("app.py:talk", "--topic", "sea", "--n", "5", "--tone", "warm", "--loud")

    assert (given["n"], given["tone"].name, given["loud"]) == (5, "WARM", True)


def test_a_flag_can_be_turned_off() -> None:
    assert arguments("app.py:talk", "--topic", "sea", "--no-loud")["loud"] is False


def test_a_list_takes_many_words_and_may_be_repeated() -> None:
    words = ["app.py:parts", "--files", "a", "b", "--files", "c", "--nums", "1", "2"]

    assert arguments(*words) == {"files": ["a", "b", "c"], "nums": [1, 2]}


def test_a_list_may_be_empty() -> None:
    assert arguments("app.py:parts", "--files") == {"files": []}


def test_own_options_may_stand_before_and_after_the_app() -> None:
    options = parse(
        RUN, ["--trace", "t.jsonl", "app.py:talk", "--topic", "x", "--timeout", "3"]
    ).options

    assert (options.trace, options.timeout) == ("t.jsonl", 3.0)


def test_a_word_that_begins_with_a_dash_is_given_with_an_equals_sign() -> None:
    assert arguments("app.py:talk", "--topic=--what") == {"topic": "--what"}


def test_a_missing_argument_is_named_with_its_type() -> None:
    assert refused("app.py:talk") == "talk needs --topic (text)"


def test_only_arguments_that_specialise_the_graph_are_needed_to_draw_it() -> None:
    assert parse(GRAPH, ["app.py:talk"]).arguments == {}
    with pytest.raises(UsageError, match=r"shared needs --timeout \(int\)"):
        parse(GRAPH, ["app.py:shared"])


def test_an_unknown_argument_is_answered_with_the_known_ones() -> None:
    message = refused("app.py:talk", "--topic", "x", "--size", "3")

    assert message == "talk has no argument --size; it has --topic, --n, --tone, --lang, --loud"


def test_a_stray_word_is_refused() -> None:
    assert refused("app.py:talk", "sea").startswith("unexpected 'sea': name each argument")


def test_a_wrong_value_names_its_argument() -> None:
    assert "argument --n: 'many' is no int" in refused("app.py:talk", "--topic", "x", "--n", "many")


def test_an_argument_file_that_is_missing_is_named() -> None:
    message = refused("app.py:parts", "--files", "a", "--style", "@gone.json")

    assert message == "argument --style: gone.json: No such file or directory"


def test_no_app_at_all_is_refused() -> None:
    assert refused().startswith("which app? run-graph app.py:name")


def test_an_argument_before_the_app_is_refused() -> None:
    assert refused("--topic", "sea", "app.py:talk") == (
        "--topic comes before the app; write the app first"
    )


def test_a_name_that_is_argument_and_option_must_be_said_in_full() -> None:
    message = refused("app.py:shared", "--timeout", "3")

    assert "--app-timeout for the argument, --run-timeout for the option" in message


def test_argument_and_option_of_one_name_can_both_be_given() -> None:
    words = ["app.py:shared", "--app-timeout", "3", "--run-timeout", "9", "--app-quiet"]
    invocation = parse(RUN, words)

    assert invocation.arguments == {"timeout": 3, "quiet": True}
    assert (invocation.options.timeout, invocation.options.quiet) == (9.0, False)


def test_help_of_an_app_shows_types_defaults_and_docstring(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(RUN, ["app.py:talk", "--help"])
    shown = capsys.readouterr().out

    assert end.value.code == 0
    assert "Talk about a topic." in shown
    assert "--topic text " in shown
    assert "--tone dry|warm " in shown
    assert "default: 3" in shown
    assert "--loud, --no-loud" in shown
    assert "--trace FILE" in shown


def test_help_without_an_app_is_general(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(RUN, ["--help"])

    assert "APP is file.py:name or package.module:name" in capsys.readouterr().out


def test_what_a_module_prints_when_imported_is_no_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chatty.py").write_text("print('hello')\nfrom app import talk")
    parse(RUN, ["chatty.py:talk", "--topic", "x"])

    assert capsys.readouterr() == ("", "hello\n")


def test_an_alias_of_an_argument_is_another_option(tmp_path: Path) -> None:
    app = """
import teola as tl
from typing import Annotated
from pydantic import Field

@tl.app
def ask(q: Annotated[str, Field(alias="question")]) -> str:
    return tl.join([q])
"""
    (tmp_path / "alias.py").write_text(app, encoding="utf-8")
    assert arguments("alias.py:ask", "--question", "why?") == {"q": "why?"}
    assert arguments("alias.py:ask", "--q", "why?") == {"q": "why?"}
