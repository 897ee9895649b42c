"""An article judged on several points, and then as a whole: branch, solve, merge.

    run-graph samples/judge.py:judge

After Saha et al., "Branch-Solve-Merge", NAACL 2024. All points are judged side by side behind one
head, the article, which is prefilled once; so is the head of the verdict, while they are written.
"""

import enum
from pathlib import Path

import teola as tl

FILES = [str(Path(__file__).parent / "data/sqlite/whyc.md")]
POINTS = ("clarity", "evidence", "structure", "tone", "usefulness")

llm = tl.LLM("local:smollm2-135m")


class Grade(enum.Enum):
    POOR = "poor"
    FAIR = "fair"
    GOOD = "good"


@tl.prompt(llm, max_tokens=32, stop="\n", system="You judge articles, in one short sentence.")
def assess(article: str, point: str) -> str:
    return f"{article}\n\nJudge the {point} of the article."


@tl.prompt(llm, out=Grade, max_tokens=8, system="Grade an article by what judges say of it.")
def grade(notes: list[str]) -> str:
    return f"{tl.join(notes, '- {text}')}\n\nGrade:"


@tl.app
def judge(files: list[str] = FILES) -> Grade:
    """Grade an article."""
    article = tl.join(tl.load(files), "{text}", sep="\n\n")
    return grade([assess(article, point) for point in POINTS])
