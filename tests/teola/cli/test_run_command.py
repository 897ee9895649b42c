import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from teola.runner import _default_runner
from teola.viewer.reading import read_trace_file

Teola = Callable[..., Any]


def test_a_text_answer_is_all_there_is_on_stdout(teola: Teola) -> None:
    done = teola("run", "app.py:talk", "--topic", "sea")

    assert (done.code, done.out) == (0, "one two three\n")


def test_a_summary_is_on_stderr(teola: Teola) -> None:
    done = teola("run", "app.py:talk", "--topic", "sea")

    assert "2 prefilled, 0 cached, 3 decoded tokens, 2 primitives in 2 batches" in done.err
    assert "critical path: say " in done.err


@pytest.mark.parametrize("option", ["--quiet", "--no-summary"])
def test_the_summary_can_be_turned_off(teola: Teola, option: str) -> None:
    assert teola("run", "app.py:talk", "--topic", "sea", option).err == ""


def test_a_model_is_printed_as_indented_json(teola: Teola) -> None:
    done = teola("run", "app.py:total", "--x", "1 2", "--quiet")

    assert done.out == '{\n  "total": 3,\n  "note": "ok"\n}\n'


def test_a_text_that_is_not_streamed_is_printed_as_it_is(teola: Teola) -> None:
    done = teola("run", "app.py:parts", "--files", "a", "b", "--quiet")

    assert done.out == "1:a 2:b\n"


def test_json_is_one_object_with_result_tokens_and_status(teola: Teola) -> None:
    answer = json.loads(teola("run", "app.py:total", "--x", "1 2", "--json").out)

    assert answer.pop("seconds") > 0
    assert answer == {
        "app": "total",
        "status": "ok",
        "error": None,
        "result": {"total": 3, "note": "ok"},
        "tokens": {
            "prefilled": 3,
            "cached": 0,
            "fused": 0,
            "wasted": 0,
            "estimated": 0,
            "decoded": 4,
        },
        "wasted_s": 0.0,
        "remembered_items": 0,
    }


def test_json_of_a_failed_run_says_so_and_the_exit_code_too(teola: Teola) -> None:
    done = teola("run", "app.py:broken", "--x", "a", "--json")
    answer = json.loads(done.out)

    assert done.code == 1
    assert (answer["status"], answer["result"]) == ("NodeFailed", None)
    assert "the tool does not like it" in answer["error"]


def test_what_a_tool_prints_is_not_on_stdout(teola: Teola) -> None:
    done = teola("run", "app.py:loud", "--x", "hey", "--quiet")

    assert (done.out, done.err) == ("HEY\n", "shouting\n")


def test_a_trace_file_is_written(teola: Teola, tmp_path: Path) -> None:
    teola("run", "app.py:talk", "--topic", "sea", "--trace", "out/t.jsonl")
    (trace,) = read_trace_file(tmp_path / "out/t.jsonl").traces

    assert (trace.app, trace.status, len(trace.spans)) == ("talk", "ok", 2)


def test_no_optimize_runs_the_plain_graph(teola: Teola, tmp_path: Path) -> None:
    teola("run", "app.py:talk", "--topic", "sea", "--trace", "t.jsonl", "--no-optimize")

    assert not read_trace_file(tmp_path / "t.jsonl").traces[0].optimized


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["gone.py:x"], 2, "error: no such file: gone.py"),
        (["app.py:talk"], 2, "error: talk needs --topic (text)"),
        (["app.py:talk", "--topic", "x", "--n", "y"], 2, "error: argument --n: 'y' is no int"),
        (["app.py:broken", "--x", "a"], 1, "failed: ValueError: the tool does not like it"),
        (["app.py:read", "--files", "gone.txt"], 1, "there is no file or folder 'gone.txt'"),
        (
            ["app.py:talk", "--topic", "x", "--engine", "gpt=fake:"],
            1,
            "error: the app has no engine named 'gpt'; it has llm",
        ),
        (
            ["app.py:talk", "--topic", "x", "--engine", "llm=nope:"],
            1,
            "error: engine 'llm': unknown scheme 'nope'",
        ),
    ],
)
def test_a_failure_is_one_clear_message(
    teola: Teola, words: list[str], code: int, message: str
) -> None:
    done = teola("run", *words)

    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("word", ["llm", "llm=", "=fake:", "llm=fake", "llm=:fake"])
def test_a_malformed_engine_is_wrong_usage_told_in_one_line(teola: Teola, word: str) -> None:
    done = teola("run", "app.py:talk", "--topic", "x", "--engine", word)

    assert (done.code, done.out) == (2, "")
    hint = "--engine takes NAME=URL, like llm=local:smollm2-135m"
    assert done.err == f"error: {hint}; got {word!r}\n"


def test_a_prompt_longer_than_the_context_is_one_clear_message(
    teola: Teola, app_file: Path
) -> None:
    app_file.write_text(app_file.read_text().replace('"fake:",', '"fake:", max_context_tokens=1,'))
    done = teola("run", "app.py:talk", "--topic", "a long one")

    assert done.code == 1
    assert "more than the context of 1" in done.err


def test_a_model_that_is_not_fetched_is_one_clear_message(
    teola: Teola, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))
    _default_runner.cache_clear()  # engines of other tests may have loaded the model
    done = teola("run", "app.py:talk", "--topic", "x", "--engine", "llm=local:smollm2-135m")

    assert done.code == 1
    assert "teola models fetch smollm2-135m" in done.err


def test_a_run_that_takes_too_long_is_given_up(teola: Teola, app_file: Path) -> None:
    app_file.write_text(app_file.read_text().replace('"fake:",', '"fake:", token_s=5.0,'))
    done = teola("run", "app.py:talk", "--topic", "x", "--timeout", "0.05")

    assert done.code == 1
    assert "() did not finish within 0.05 s" in done.err


def test_debug_shows_the_stack_trace_too(teola: Teola) -> None:
    done = teola("run", "app.py:broken", "--x", "a", "--debug")

    assert "Traceback" in done.err
    assert "the tool does not like it" in done.err.splitlines()[-1]


SECRET = """
import teola as tl

llm = tl.LLM("fake:", replies={"draft": "secret draft", "final": "the answer"})

@tl.prompt(llm)
def p(x: str) -> str:
    return x

@tl.tool
def send(x: str) -> None:
    print("sent", x)

@tl.app
async def two(q: str) -> str:
    d = await tl.value(p("draft"))
    return p("final " + q)

@tl.app
async def cleaned(q: str) -> str:
    text = await tl.value(p("final " + q))
    return text.upper()

@tl.app
def both(q: str) -> dict[str, str]:
    return {"a": p(f"draft {q}"), "b": p(f"final {q}")}

@tl.app
def effects(q: str) -> None:
    send(p(f"final {q}"))
"""


@pytest.mark.parametrize(
    ("app", "out"),
    [
        ("two", "the answer\n"),
        ("cleaned", "THE ANSWER\n"),
        ("both", '{\n  "a": "secret draft",\n  "b": "the answer"\n}\n'),
        ("effects", ""),
    ],
)
def test_the_result_is_printed_once_and_no_draft(
    teola: Teola, tmp_path: Path, app: str, out: str
) -> None:
    (tmp_path / "secret.py").write_text(SECRET, encoding="utf-8")

    assert teola("run", f"secret.py:{app}", "--q", "x", "--quiet").out == out


def test_a_policy_is_chosen_on_the_command_line(teola: Teola) -> None:
    done = teola("run", "app.py:talk", "--topic", "sea", "--policy", "fcfs", "--quiet")
    wrong = teola("run", "app.py:talk", "--topic", "sea", "--policy", "lifo")

    assert (done.code, done.out) == (0, "one two three\n")
    assert wrong.code == 2
    assert "invalid choice: 'lifo'" in wrong.err


def test_engines_of_an_async_app_are_replaced_on_the_command_line(
    teola: Teola, tmp_path: Path
) -> None:
    (tmp_path / "secret.py").write_text(SECRET, encoding="utf-8")
    done = teola("run", "secret.py:two", "--q", "x", "--engine", "llm=fake:", "--quiet")
    wrong = teola("run", "secret.py:two", "--q", "x", "--engine", "lm=fake:")

    assert done.out.startswith("reply ")
    assert "no engine named 'lm'; it has llm" in wrong.err


def test_a_run_on_a_virtual_clock_tells_its_time(teola: Teola, app_file: Path) -> None:
    app_file.write_text(
        app_file.read_text().replace('LLM("fake:", ', 'LLM("fake:", token_s=100.0, ')
    )
    shown = teola("run", "app.py:talk", "--topic", "tea", "--virtual")
    assert shown.code == 0
    assert shown.out == "one two three\n"
    assert shown.err.startswith("5 m 00 s, ")
    assert "virtual clock" in shown.err


def test_a_run_is_recorded(teola: Teola, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    assert teola("run", "app.py:talk", "--topic", "tea", "--record", str(file)).code == 0
    first, *records = map(json.loads, file.read_text().splitlines())
    assert first == {"teola_recording": 1}
    assert [record["text"] for record in records] == ["one two three"]
