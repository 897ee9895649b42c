"""`tl.evaluate` on the fake model, its metrics, and what it tells."""

import asyncio
import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import teola as tl
from teola.errors import ArgumentError

llm = tl.LLM(
    "fake:",
    replies={
        "Answer: capital of France": "It is Paris.",
        "Answer: two plus two": "4",
        r"(?s)question: capital.*Is it right": "yes",
        r"Is it right": "no",
    },
    fail={},
)


@tl.prompt(llm, max_tokens=9)
def answer(question: str) -> str:
    return f"Answer: {question}"


@tl.tool
def refuse(question: str) -> str:
    if "secret" in question:
        raise PermissionError("that is a secret")
    return question


@tl.app
def ask(question: str) -> str:
    return answer(refuse(question))


@tl.app
async def aask(question: str) -> str:
    return await tl.value(answer(await tl.value(refuse(question))))


ROWS = [
    {"question": "capital of France", "expected": "Paris"},
    {"question": "two plus two", "expected": "4"},
    {"question": "the secret", "expected": "?"},
]
METRICS = [tl.metrics.exact_match(), tl.metrics.contains(), tl.metrics.f1()]
both = pytest.mark.parametrize("app", [ask, aask])


@both
def test_rows_keep_their_order_outputs_errors_and_scores(app: Any) -> None:
    found = tl.evaluate(app, ROWS, METRICS, concurrency=2)
    assert [row.output for row in found.rows] == ["It is Paris.", "4", None]
    assert [row.scores for row in found.rows] == [
        {"exact_match": 0.0, "contains": 1.0, "f1": 0.5},
        {"exact_match": 1.0, "contains": 1.0, "f1": 1.0},
        {},
    ]
    assert "that is a secret" in str(found.rows[2].error)
    assert found.errors == [found.rows[2]]
    assert found.scores["exact_match"].mean == 0.5
    assert found.scores["f1"].num_rows == 2
    assert 0.0 <= found.scores["exact_match"].low <= 0.5 <= found.scores["exact_match"].high <= 1.0


def test_tokens_and_seconds_are_counted_for_each_row() -> None:
    found = tl.evaluate(ask.using(memo=False), ROWS[:2], [])
    first, second = found.rows
    assert first.prefill_tokens == 4
    assert (first.decode_tokens, second.decode_tokens) == (3, 1)
    assert found.totals["decode_tokens"] == 4
    assert 0 < found.totals["p50_s"] <= found.totals["p95_s"] <= found.seconds


@dataclass
class Case:
    question: str
    expected: str


class Model(BaseModel):
    question: str
    expected: str


def test_rows_may_be_dataclasses_models_or_lines_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS[:2]) + "\n\n")
    datasets: list[Any] = [
        [Case("two plus two", "4")],
        (Model(question="two plus two", expected="4") for _ in range(1)),
        path,
        str(path),
    ]
    for dataset in datasets:
        found = tl.evaluate(ask, dataset, [tl.metrics.contains()])
        assert found.scores["contains"].mean == 1.0

    def same(row: Case, output: str) -> bool:
        return row.expected == output

    assert tl.evaluate(ask, [Case("two plus two", "4")], [same]).scores["same"].mean == 1.0


def test_metrics_are_functions_plain_or_async_and_may_run_apps() -> None:
    async def half(row: Any, output: str) -> float:
        await asyncio.sleep(0)
        return 0.5

    def again(row: Any, output: str) -> bool:
        return ask(row["question"]) == output

    def again_async(row: Any, output: str) -> bool:
        return aask(row["question"]) == output

    found = tl.evaluate(aask, ROWS[:2], {"h": half, "again": again, "also": again_async})
    assert {name: score.mean for name, score in found.scores.items()} == {
        "h": 0.5,
        "again": 1.0,
        "also": 1.0,
    }


def test_a_metric_that_fails_or_gives_no_number_leaves_its_error() -> None:
    def bad(row: Any, output: str) -> Any:
        return "good"

    found = tl.evaluate(ask, [{"question": "two plus two"}], {"bad": bad, "f1": tl.metrics.f1()})
    assert "must give a number" in str(found.rows[0].failures["bad"])
    assert "no field 'expected'" in str(found.rows[0].failures["f1"])
    assert found.scores == {}


def test_a_model_judges() -> None:
    judge = tl.metrics.judge(llm, "Is it right?")
    found = tl.evaluate(ask, ROWS[:2], [judge])
    assert [row.scores for row in found.rows] == [{"judge": 1.0}, {"judge": 0.0}]


def test_what_the_app_is_given_can_be_made_from_the_row() -> None:
    rows = [{"q": "two plus two", "expected": "4"}]
    found = tl.evaluate(ask, rows, METRICS, arguments=lambda row: {"question": row["q"]})
    assert found.scores["exact_match"].mean == 1.0
    missing = tl.evaluate(ask, rows, METRICS)
    assert isinstance(missing.rows[0].error, ArgumentError)


def test_several_right_answers_count_as_one() -> None:
    row = {"expected": ["Paris", "the city of Paris"]}
    for metric in (tl.metrics.contains(), tl.metrics.f1()):
        assert metric(row, "The city of Paris!") == 1.0
    assert tl.metrics.contains("names")({"names": ["Rome"]}, "Paris") is False
    assert tl.metrics.f1()({"expected": "the"}, "a") == 1.0
    assert tl.metrics.exact_match()({"expected": [1, 2]}, [1, 2]) is True


def test_the_table_shows_scores_failures_and_totals() -> None:
    text = str(tl.evaluate(ask, ROWS, METRICS))
    assert "exact_match" in text
    assert "ask: 3 rows" in text
    assert "0.500" in text
    assert "95% interval" in text
    assert "decoded" in text
    assert "1 row failed, the first by NodeFailed" in text


def test_results_are_written_as_json_and_csv(tmp_path: Path) -> None:
    found = tl.evaluate(ask, ROWS, METRICS)
    found.to_json(tmp_path / "found.json")
    told = json.loads((tmp_path / "found.json").read_text())
    assert told["errors"] == 1
    assert told["scores"]["contains"]["mean"] == 1.0
    assert told["rows"][0]["row"] == ROWS[0]
    assert "secret" in told["rows"][2]["error"]
    lines = list(csv.DictReader(io.StringIO(found.to_csv(tmp_path / "found.csv"))))
    assert [line["output"] for line in lines] == ["It is Paris.", "4", ""]
    assert [line["f1"] for line in lines] == ["0.5", "1.0", ""]
    assert (tmp_path / "found.csv").read_text().startswith("question,expected,output,error")


def test_a_dataset_has_rows_and_metrics_are_functions(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"question": "x"}\n{"question"\n')
    for dataset, reason in (
        ([], "no rows"),
        (["text"], "row 1 of the dataset: a row is a dict"),
        (broken, "broken.jsonl:2 is no JSON"),
    ):
        with pytest.raises(ArgumentError, match=reason):
            tl.evaluate(ask, dataset, METRICS)
    wrong: Any
    for wrong, reason in (
        (len, "a list or a dict of functions"),
        (["f1"], "no function of"),
        ([tl.metrics.f1(), tl.metrics.f1("other")], "two metrics have one name"),
    ):
        with pytest.raises(ArgumentError, match=reason):
            tl.evaluate(ask, ROWS, wrong)


def test_one_trace_file_and_the_users_listener_see_all_rows(tmp_path: Path) -> None:
    heard: list[Any] = []
    path = tmp_path / "trace.jsonl"
    tl.evaluate(ask.using(trace=str(path), listener=heard.append), ROWS[:2], [])
    kinds = [json.loads(line).get("kind") for line in path.read_text().splitlines()]
    assert kinds.count("query") == kinds.count("done") == 2
    assert sum(event.kind == "done" for event in heard) == 2


def test_it_can_be_awaited_and_works_where_a_loop_runs() -> None:
    async def main() -> None:
        awaited = await tl.aevaluate(ask, ROWS[:2], METRICS)
        assert awaited.scores == tl.evaluate(ask, ROWS[:2], METRICS).scores

    asyncio.run(main())


def test_a_bar_counts_the_rows_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    tl.evaluate(ask, ROWS, METRICS, progress=True)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "1 failed" in shown


@pytest.mark.model
def test_a_real_model_is_evaluated_and_judges() -> None:
    model = tl.LLM("local:smollm2-135m", dtype="float32")

    @tl.prompt(model, max_tokens=12)
    def reply(question: str) -> str:
        return question

    @tl.app
    def app(question: str) -> str:
        return reply(question)

    rows = [{"question": "What is the capital of France?", "expected": "Paris"}]
    metrics = [tl.metrics.contains(), tl.metrics.judge(model, "Is the answer right?")]
    found = tl.evaluate(app, rows, metrics)
    assert found.scores["contains"].mean == 1.0
    assert found.scores["judge"].mean in (0.0, 1.0)
    assert found.totals["decode_tokens"] > 0


def test_what_is_no_app_is_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match=r"runs a @tl.app, not <built-in function len>"):
        tl.evaluate(len, ROWS, METRICS)  # type: ignore[arg-type]


def test_a_score_that_is_no_number_leaves_the_mean_of_the_others() -> None:
    def share(row: dict[str, str], output: str) -> float:
        return float("nan") if "two" in row["question"] else 1.0

    found = tl.evaluate(ask, ROWS[:2], [share])
    assert found.scores["share"].mean == 1.0
    assert [list(row.failures) for row in found.rows] == [[], ["share"]]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_so_many_rows_run_at_once(concurrency: int) -> None:
    running, most = 0, 0

    @tl.tool
    async def busy(question: str) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        async with asyncio.timeout(60):
            while most < concurrency:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # one more than may would come now
        running -= 1
        return question

    @tl.app
    def wait(question: str) -> str:
        return busy(question)

    rows = [{"question": f"{number}", "expected": ""} for number in range(4)]
    assert not tl.evaluate(wait, rows, METRICS, concurrency=concurrency).errors
    assert most == concurrency
