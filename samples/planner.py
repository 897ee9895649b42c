"""A planner that writes a task graph: each task runs as soon as it is written and has its inputs.

    run-graph samples/planner.py:answer

After Kim et al., "An LLM Compiler for Parallel Function Calling", ICML 2024. The look-ups take
nothing of each other: they run side by side, while the model still writes what follows them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import teola as tl

FILE = Path(__file__).parent / "data/countries/countries.jsonl"
QUESTION = "How many people are there on a square kilometre in Norway?"
EXAMPLE = """\
For "How many people are there on a square kilometre in Kenya?" write {"tasks": [\
{"id": 1, "tool": "people", "arguments": {"country": "Kenya"}}, \
{"id": 2, "tool": "area", "arguments": {"country": "Kenya"}}, \
{"id": 3, "tool": "divide", "arguments": {"number": "$1", "by": "$2"}}]}"""

Country = Literal[
    "Brazil", "Chile", "Egypt", "France", "Germany", "Italy", "Japan", "Kenya", "Norway", "Peru",
    "Poland", "Spain",
]  # fmt: skip

llm = tl.LLM("local:smollm2-135m")


@tl.tool(pure=True)
def people(country: Country) -> int:
    """How many people a country has."""
    return int(row_of(country)["people"])


@tl.tool(pure=True)
def area(country: Country) -> int:
    """How many square kilometres a country has."""
    return int(row_of(country)["km2"])


@tl.tool(pure=True)
def divide(number: float, by: float) -> float:
    """One number divided by another."""
    return round(number / by, 1)


def row_of(country: str) -> dict[str, Any]:
    rows: Iterator[dict[str, Any]] = map(json.loads, FILE.read_text(encoding="utf-8").splitlines())
    return next(row for row in rows if row["name"] == country)


@tl.tool(pure=True)
def listed(results: list[tl.teams.TaskResult]) -> str:
    """The results, a line each."""
    return "\n".join(map(str, results))


TOOLS = (people, area, divide)

plan = tl.teams.planner(
    llm, tools=TOOLS, joiner=listed, instructions=EXAMPLE, max_tasks=3, name="plan"
)


@tl.app
async def answer(question: str = QUESTION) -> str:
    """Answer a question about countries by a plan of look-ups and sums."""
    return await tl.value(plan(question))
