"""A software team: requirements, a design, files written side by side, reviews, and rewriting.

    run-graph samples/coding_team.py:build --task "a program that keeps a list of books"

After MetaGPT (Hong et al., 2024), as Parrot measures it (Lin et al., OSDI 2024). All members read
one project from its beginning, and what one of them has to do stands behind it. So a stage prefills
the project once and not once a call: the engineers share requirements and design, and those who
review and rewrite share the files too.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field

import teola as tl

TEAM = "You are a team that writes small Python programs."

llm = tl.LLM("local:smollm2-135m")


class File(BaseModel):
    name: Annotated[str, Field(pattern=r"^[a-z]{3,10}\.py$")]
    purpose: Annotated[str, Field(max_length=48)]


@tl.tool(pure=True)
def outline(files: Sequence[File]) -> str:
    """The design as a numbered list."""
    return "\n".join(f"{i}. {file.name}: {file.purpose}" for i, file in enumerate(files, 1))


@tl.tool(pure=True)
def program(files: Sequence[File], sources: Sequence[str]) -> str:
    """The text of all files, each behind its number and name."""
    named = zip(files, sources, strict=True)
    texts = (f"# {i}. {file.name}\n{text.strip()}" for i, (file, text) in enumerate(named, 1))
    return "\n\n".join(texts)


class Team:
    """Who works on a program of so many files, and what they are asked."""

    def __init__(
        self, llm: tl.LLM, num_files: int, note_tokens: int = 24, file_tokens: int = 48
    ) -> None:
        files = Annotated[list[File], Field(min_length=num_files, max_length=num_files)]
        self.manager = tl.Agent("manager", llm, instructions=TEAM, max_tokens=note_tokens)
        self.architect = tl.Agent(
            "architect", llm, instructions=TEAM, out=files, max_tokens=64 * num_files
        )
        self.engineer = tl.Agent("engineer", llm, instructions=TEAM, max_tokens=file_tokens)
        self.reviewer = tl.Agent("reviewer", llm, instructions=TEAM, max_tokens=note_tokens)

    def specify(self, task: str) -> str:
        return self.manager(f"Task: {task}", "What must the program do?")

    def design(self, task: str, needs: str) -> list[File]:
        files: list[File] = self.architect(f"Task: {task}", needs, "List its files.")
        return files

    def write(self, task: str, needs: str, design: str, number: int) -> str:
        return self.engineer(f"Task: {task}", needs, design, f"Write file {number}.")

    def review(self, task: str, needs: str, design: str, code: str, number: int) -> str:
        return self.reviewer(f"Task: {task}", needs, design, code, f"Review file {number}.")

    def rewrite(
        self, task: str, needs: str, design: str, code: str, number: int, remark: str
    ) -> str:
        last = f"Review of file {number}: {remark}\n\nWrite file {number} anew."
        return self.engineer(f"Task: {task}", needs, design, code, last)


def coding_team(team: Team, num_files: int, rounds: int = 1) -> "tl.App[[str], str]":
    """The team as an app: a task to a program, rewritten so many times after reviews."""
    numbers = range(1, num_files + 1)

    @tl.app
    def build(task: str = "a program that keeps a list of books") -> str:
        """Write a program."""
        needs = team.specify(task)
        files = team.design(task, needs)
        design = outline(files)
        sources = [team.write(task, needs, design, n) for n in numbers]
        for _ in range(rounds):
            code = program(files, sources)
            remarks = [team.review(task, needs, design, code, n) for n in numbers]
            sources = [
                team.rewrite(task, needs, design, code, n, remark)
                for n, remark in zip(numbers, remarks, strict=True)
            ]
        return program(files, sources)

    return build


build = coding_team(Team(llm, num_files=4), num_files=4)
