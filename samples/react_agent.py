"""An agent that reasons and acts: it looks facts up and calculates until it can answer.

    run-graph samples/react_agent.py:answer --question "How many people live in Norway?"

After Yao et al., "ReAct", ICLR 2023, with typed tools in place of a text format: the schemas come
from signatures and docstrings, the model is held to them, and what a tool raises is told to it. The
small model seldom sees that it should look something up, so its first turn has to call a tool.
"""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

import teola as tl

FILE = Path(__file__).parent / "data/countries/countries.jsonl"
OPERATIONS: dict[type, Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}

Country = Literal[
    "Brazil", "Chile", "Egypt", "France", "Germany", "Italy", "Japan", "Kenya", "Norway", "Peru",
    "Poland", "Spain",
]  # fmt: skip

llm = tl.LLM("local:smollm2-135m")


class Answer(BaseModel):
    number: Annotated[int, Field(ge=0, le=10**10)]


@tl.tool(pure=True)
def look_up(country: Country, what: Literal["people", "km2"]) -> int:
    """Look up how many people or square kilometres a country has.

    Args:
        country: the country that is asked about
        what: people, or km2 for its area
    """
    rows = map(json.loads, FILE.read_text(encoding="utf-8").splitlines())
    return next(int(row[what]) for row in rows if row["name"] == country)


@tl.tool(pure=True)
def calculate(expression: Annotated[str, Field(max_length=40)]) -> float:
    """Work out numbers with + - * / and parentheses.

    Args:
        expression: for example (100 - 40) / 12
    """
    return worked_out(ast.parse(expression, mode="eval").body)


def worked_out(node: ast.expr) -> float:
    """Raises ValueError for what is no such sum."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.BinOp(left, op, right) if type(op) in OPERATIONS:
            return OPERATIONS[type(op)](worked_out(left), worked_out(right))
        case _:
            raise ValueError("write numbers, + - * / and parentheses alone")


agent = tl.Agent(
    "agent",
    llm,
    instructions="Answer questions about countries.",
    tools=[look_up, calculate],
    tool_choice="required",
    out=Answer,
    max_turns=4,
    on_limit="answer",
    max_tokens=64,
)


@tl.app
def answer(question: str = "How many people live in Norway?") -> int:
    """Answer a question about countries by a number."""
    return agent(question).number
