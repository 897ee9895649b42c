"""What type checkers see of semantic functions: the declared types, under mypy --strict."""

import subprocess
import sys
from pathlib import Path

USER = '''
from typing import Annotated
import teola as tl

llm = tl.LLM("fake:")

class Joke(tl.Outputs):
    joke: Annotated[tl.Variable[str], tl.Output(max_tokens=20, transform=tl.transforms.strip())]
    score: tl.Variable[int]

@tl.semantic(llm, out=Joke, temperature=0.5)
def tell(topic: tl.Input[str]) -> None:
    """Tell a joke about {{topic}}: {{joke}} How good is it? {{score}}"""

@tl.semantic(llm)
def shorten(text: tl.Input[str], words: int = 5) -> None:
    """Shorten {{text}} to {{words}} words. {{output:short}}"""

@tl.semantic(llm, out=int)
def grade(text: tl.Input[str], into: tl.Variable[int] | None = None) -> None:
    """Grade {{text}} {{into}}"""

@tl.tool
def count(text: str) -> int:
    return len(text)

@tl.app
def app(topic: str) -> tuple[str, int]:
    draft = tl.variable()
    number = tl.variable(int, name="number")
    short = shorten(draft)
    told = tell(topic)
    draft.set(told.joke.value)
    grade(short, into=number)
    reveal_type(told)
    reveal_type(told.score)
    reveal_type(short.get(tl.LATENCY).value)
    reveal_type(number)
    reveal_type(shorten("a real text", words=3))
    return short.value, count(short.value)

@tl.app
async def later(topic: str) -> int:
    told = tell(topic)
    reveal_type(await told.score.get(tl.THROUGHPUT))
    return await told.score

reveal_type(tl.semantic(llm, "{{input:x}} {{output:y}}", out=Joke)("x"))
reveal_type(tl.semantic(llm, "{{input:x}} {{output:y}}", out=bool)("x"))
tell(3)  # wrong
shorten("x").get("soon")  # wrong
tell("x").jok  # wrong
'''

EXPECTED = [
    'Revealed type is "user.Joke"',
    'Revealed type is "frontend_dsl.semantic_variable.Variable[int]"',
    'Revealed type is "str"',
    'Revealed type is "frontend_dsl.semantic_variable.Variable[int]"',
    'Revealed type is "frontend_dsl.semantic_variable.Variable[str]"',
    'Revealed type is "int"',
    'Revealed type is "user.Joke"',
    'Revealed type is "frontend_dsl.semantic_variable.Variable[bool]"',
    'incompatible type "int"; expected "str | Variable[str]"',
    "incompatible type \"Literal['soon']\"",
    '"Joke" has no attribute "jok"',
]


def test_semantic_functions_have_the_types_that_are_declared(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    root = str(Path(__file__).parent.parent.parent)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "user.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"MYPYPATH": root}
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("user.py")]
    assert len(lines) == len(EXPECTED), done.stdout
    for line, expected in zip(lines, EXPECTED, strict=True):
        assert expected in line
