"""What the programs say: the same texts, schemas and limits in every form.

A prompt is a list of messages; the answers of a program are compared between its forms.
"""

import re
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from frontend_dsl.schema import json_schema
from frontend_dsl.teams.debate import CON, PRO
from frontend_dsl.teams.debate import SYSTEM as DEBATE_SYSTEM
from frontend_dsl.teams.transcript import NEXT, SAYS

SQLITE = Path(__file__).resolve().parents[2] / "samples/data/sqlite"
Messages = list[dict[str, str]]


def page(name: str, num_chars: int) -> str:
    """The begin of a page of SQLite's documentation."""
    return (SQLITE / f"{name}.md").read_text(encoding="utf-8")[:num_chars]


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


# multi-turn chat

CHAT_SYSTEM = f"You answer questions about this page, in two sentences.\n\n{page('onefile', 1400)}"
CHAT_TURNS = (
    "What is an SQLite database?",
    "Why is that practical for a program that runs on several machines?",
    "How large can such a database be?",
    "And what would you warn a beginner of?",
)
CHAT_LIMITS: dict[str, Any] = {"max_tokens": 32}

# judge: branch, solve, merge

JUDGE_SYSTEM = "You judge articles, in short sentences."
POINTS = ("clarity", "evidence", "structure", "length", "usefulness")
POINT_LIMITS: dict[str, Any] = {"max_tokens": 40}
MERGED_LIMITS: dict[str, Any] = {"max_tokens": 32}


class Grade(Enum):
    POOR = "poor"
    FAIR = "fair"
    GOOD = "good"


ARTICLE = page("whyc", 3200)


def read(article: str) -> str:
    return f"Here is an article.\n\n{article}"


def assess(point: str) -> str:
    return f"Judge the {point} of the article."


def merge(notes: Sequence[str]) -> str:
    listed = "\n".join(f"- {note}" for note in notes)
    return f"Judges said of the article:\n{listed}\nSay it in one sentence."


GRADE = "Grade the article."

# tree of thought

THOUGHT_SYSTEM = "You solve problems of arithmetic step by step."
PROBLEM = (
    "A shop sells pens in boxes of 12. A school orders 7 boxes, gives 5 pens to each of its 13 "
    "teachers, and shares the rest among 4 classes. Each class already has 3 pens, two of which "
    "are dry. How many working pens does each class have in the end, and how many are left over?"
)
APPROACHES = (
    "by equations",
    "by drawing a table",
    "by working backwards",
    "by estimating first",
    "by asking small questions",
)
CARRY_OUT = "Carry the plan out."
REFLECT = "Name the weakest step of it."
THOUGHT_LIMITS: dict[str, Any] = {"max_tokens": 28}


def propose(problem: str, approach: str) -> str:
    return f"{problem}\n\nPropose a plan to solve it {approach}."


def conclude(problem: str, solutions: Sequence[str], reflections: Sequence[str]) -> str:
    pairs = zip(solutions, reflections, strict=True)
    listed = "\n\n".join(f"Solution: {solution}\nBut: {but}" for solution, but in pairs)
    return f"{problem}\n\n{listed}\n\nGive the final answer."


# ReAct

REACT_SYSTEM = (
    "You answer a question in steps. In a step you write a thought of one line; you are then "
    "shown the passage of SQLite's documentation that fits it best."
)
REACT_QUESTION = "Until which year do the developers of SQLite intend to support it, and how?"
REACT_STEPS = 3
REACT_LIMITS: dict[str, Any] = {"max_tokens": 24, "stop": ["\n"]}


def look_up(thought: str) -> str:
    """The paragraph with the most words of the thought."""
    words = {word.strip(".,?!").lower() for word in thought.split()}

    def fits(paragraph: str) -> int:
        return len(words & {word.strip(".,?!").lower() for word in paragraph.split()})

    return max(page("lts", 4000).split("\n\n"), key=fits)


def observe(passage: str) -> str:
    return f"Observation: {passage}\nNext thought:"


REACT_ANSWER = "Now answer the question in one sentence."

# JSON decoding

JSON_SYSTEM = "You fill in forms from a text."
Short = Annotated[str, Field(max_length=24)]
Line = Annotated[str, Field(max_length=72)]


class People(BaseModel):
    """Who is meant."""

    authors: Short
    readers: Short


class Facts(BaseModel):
    """What is said."""

    product: Short
    language: Short
    year: int = Field(ge=1990, le=2050)


class Style(BaseModel):
    """How it is said."""

    tone: Literal["dry", "friendly", "angry"]
    is_technical: bool
    length: Literal["short", "medium", "long"]


class Summary(BaseModel):
    """What it is about."""

    headline: Line
    first_point: Line
    second_point: Line


class Advice(BaseModel):
    """What a reader should do."""

    advice: Line
    reason: Line


FORMS: tuple[type[BaseModel], ...] = (People, Facts, Style, Summary, Advice)


DOCUMENT = page("autoinc", 2800)


def fill_in(form: type[BaseModel]) -> str:
    return (
        f"Fill in the form {form.__name__}: {form.__doc__} Fields: {', '.join(form.model_fields)}."
    )


# self-consistency

EXAMPLES = """\
Question: There are 15 trees and workers plant some more; then there are 21. How many are new?
Reasoning: 21 trees less the 15 that were there are 6.
Answer: 6

Question: 3 cars stand in the lot and 2 more come. How many cars are there?
Reasoning: 3 cars and 2 cars are 5 cars.
Answer: 5

Question: Leah had 32 chocolates and her sister 42. They ate 35. How many are left?
Reasoning: Together they had 74. 74 less 35 are 39.
Answer: 39

Question: Jason had 20 lollipops and gave Denny some. Now he has 12. How many did he give?
Reasoning: 20 less 12 are 8.
Answer: 8

Question: Shawn has five toys. He got two from each of his parents. How many now?
Reasoning: He got 4 toys. 5 and 4 are 9.
Answer: 9

Question: A room had nine computers. Five more came each day for four days. How many are there?
Reasoning: 20 computers came. 9 and 20 are 29.
Answer: 29"""
VOTERS = 5
VOTE_QUESTION = (
    "Question: Olivia has 23 dollars and buys five bagels for 3 dollars each. How much is left?"
)
VOTE_LIMITS: dict[str, Any] = {"max_tokens": 32, "temperature": 0.7}


def think_about(question: str) -> str:
    return f"{EXAMPLES}\n\nQuestion: {question}\nReasoning:"


def most_common(samples: Sequence[str]) -> str:
    """The answer that most samples come to: the last number of each."""
    numbers = [re.findall(r"\d+", sample)[-1:] for sample in samples]
    votes = Counter(found[0] if found else "none" for found in numbers)
    return votes.most_common(1)[0][0]


# few-shot classification

Label = Literal["bug", "question", "praise", "request"]
SHOTS = (
    ("The program ends with an error when I open a file.", "bug"),
    ("How do I change the page size?", "question"),
    ("Thank you, the new release is wonderful!", "praise"),
    ("Please add a dark theme.", "request"),
    ("Since the update all dates are shown a day late.", "bug"),
    ("Is there a limit on the number of columns?", "question"),
    ("Best documentation that I ever read.", "praise"),
    ("It would be nice to export tables as CSV.", "request"),
    ("The journal stays on the disk after a crash.", "bug"),
    ("What does AUTOINCREMENT do?", "question"),
    ("I use it each day and love it.", "praise"),
    ("Could you support a second language?", "request"),
)
ITEMS = (
    "Saving takes a minute and then nothing is saved.",
    "Where do I find the list of keywords?",
    "You made my week.",
    "I would like to sort by two columns.",
    "The window is empty when I scroll down.",
    "Does it run on a phone?",
    "Great work on the speed!",
    "Please let me choose the font.",
    "It stops when the disk is full, without a word.",
    "Which versions are supported?",
    "I have never been so happy with a tool.",
    "An option to hide the sidebar would help me.",
    "Two rows with the same key are stored.",
    "Can I open one file from two programs?",
    "Thanks to all of you!",
    "Add a way to undo the last change.",
)
RULES = (
    "You sort messages of users into four kinds. A bug is a message that says that something does "
    "not work as it should. A question asks how something is done or what something means. "
    "Praise says that something is good. A request asks for something that is not there yet.\n\n"
)
CLASSIFY_SYSTEM = RULES + "\n\n".join(f"Message: {text}\nKind: {kind}" for text, kind in SHOTS)


def classify(item: str) -> str:
    return f"Message: {item}\nKind:"


# debate: one transcript, whose next line each speaker writes

TOPIC = f"Should new database libraries be written in C?\n\n{page('whyc', 1600)}"
SIDES = {
    "pro": "You are an engineer of databases. Give a reason, in one sentence.",
    "con": "You teach programming. Give a reason, in one sentence.",
}
ROLES = {"pro": PRO, "con": CON}
DEBATE_ROUNDS = 2
SPEECH_LIMITS: dict[str, Any] = {"max_tokens": 24, "stop": ["\n"]}


def next_line(transcript: str, side: str) -> Messages:
    """What a speaker is asked."""
    begin, end = NEXT.format(name=side), SAYS.format(name=side)
    paragraphs = [transcript, begin, ROLES[side], SIDES[side], end]
    return [system(DEBATE_SYSTEM), user("\n\n".join(paragraphs))]


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON schema that an answer of this type is held to: the one that teola sends."""
    return dict(json_schema(kind))
